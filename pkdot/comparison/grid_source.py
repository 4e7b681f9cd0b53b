"""The grid of a comparison: from a TOML file, or from flags.

A grid file has three kinds of tables. ``[sets.NAME]``, ``[regimes.NAME]`` and ``[entries.NAME]`` hold settings with the
names of a recipe: ``data.source = ...``, ``optim.epochs = ...``, ``distill.method = ...``. Further keys:

- a set may have its own number of ``seeds``, instead of ``--seeds``: one with few people needs more than others;
- a regime may have ``teacher``, a table of what its teachers are given beyond the student's settings; ``sets.NAME``,
  settings on one data set; and ``only-sets`` and ``only-entries``, lists of what takes part (controls always do);
- an entry may have ``teacher``, whose knowledge it distils, and ``only-sets``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pkdot.checks import check_choice
from pkdot.comparison.config import CompareConfig
from pkdot.comparison.grid import SECTIONS, Entry, Grid, Regime, controls
from pkdot.methods import parse_method
from pkdot.recipes import read_toml, setting_names

OF_A_SET = ("source", "biovid", "levels", "part", "folds", "fold", "split_seed")
"""Settings of data that decide which runs are planned: only in ``[sets.NAME]``."""
OF_A_BLOCK = (*OF_A_SET, "protocol", "val", "test")
"""Settings of data that decide who is tested: the same for everything that is compared."""


def grid_of(config: CompareConfig) -> Grid:
    """The grid in ``config.grid``, or the one that the flags describe, with the controls.

    Raises:
        ValueError: the grid cannot be read.

    >>> list(grid_of(CompareConfig(methods=("ot",))).entries)
    ['none', 'all labels', 'self-training', 'kd from prevalent teacher', 'ot']
    """
    grid = read_grid(config.grid) if config.grid else _from_flags(config)
    missing = {name: entry for name, entry in controls().items() if name not in grid.entries}
    return replace(grid, entries=missing | grid.entries)


def read_grid(path: Path) -> Grid:
    """Read a grid file. Raises ``ValueError`` that names the file and the table.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "grid.toml")
    ...     _ = path.write_text("sets.digits.data.source = 'digits'" + chr(10) + "entries.kd.distill.method = 'kd'")
    ...     list(read_grid(path).entries)
    ['kd']
    """
    tables = read_toml(path)
    for name in tables:
        check_choice(f"{path}: table", name, ("sets", "regimes", "entries"))
    for name in ("sets", "entries"):
        if not tables.get(name):
            raise ValueError(f"{path}: expected at least one table [{name}.NAME].")
    seeds = _seeds(path, tables["sets"])
    sets = {name: _sections(path, f"sets.{name}", table) for name, table in tables["sets"].items()}
    regimes = {
        name: _regime(path, f"regimes.{name}", table, sets, {**controls(), **tables["entries"]})
        for name, table in (tables.get("regimes") or {"all labels": {}}).items()
    }
    entries = {}
    for name, table in tables["entries"].items():
        own = {key: value for key, value in table.items() if key not in ("teacher", "only-sets")}
        teacher = table.get("teacher", "privileged")
        check_choice(f"{path}: entries.{name}.teacher", teacher, ("privileged", "prevalent", "self"))
        only_sets = _names(path, f"entries.{name}.only-sets", table, sets)
        entries[name] = Entry(_sections(path, f"entries.{name}", own, not_here=OF_A_BLOCK), teacher, only_sets)
    return Grid(sets, regimes, entries, seeds)


def _regime(path: Path, place: str, table: dict[str, Any], sets: Iterable[str], entries: Iterable[str]) -> Regime:
    others = ("teacher", "sets", "only-sets", "only-entries")
    own = {key: value for key, value in table.items() if key not in others}
    given = _sections(path, f"{place}.teacher", table.get("teacher", {}), not_here=OF_A_BLOCK)
    for data in table.get("sets", {}):
        check_choice(f"{path}: {place}.sets:", data, sets)
    on = {
        data: _sections(path, f"{place}.sets.{data}", part, not_here=OF_A_SET)
        for data, part in table.get("sets", {}).items()
    }
    only_sets = _names(path, f"{place}.only-sets", table, sets)
    only_entries = _names(path, f"{place}.only-entries", table, entries)
    return Regime(_sections(path, place, own, not_here=OF_A_SET), given, on, only_sets, only_entries)


def _seeds(path: Path, sets: Mapping[str, Any]) -> dict[str, int]:
    """Take the numbers of seeds out of the tables of data sets, which then hold settings of a run only."""
    seeds = {name: table.pop("seeds") for name, table in sets.items() if isinstance(table, dict) and "seeds" in table}
    for name, number in seeds.items():
        if type(number) is not int or number < 1:
            raise ValueError(f"{path}: sets.{name}.seeds: expected a number, 1 or more, got {number!r}.")
    return seeds


def _names(path: Path, place: str, table: Mapping[str, Any], known: Iterable[str]) -> tuple[str, ...]:
    names = table.get(place.rpartition(".")[2], [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: {place}: expected a list of names, got {names!r}.")
    for name in names:
        check_choice(f"{path}: {place}:", name, known)
    return tuple(names)


def _sections(path: Path, place: str, table: Any, *, not_here: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    if not isinstance(table, dict):
        raise ValueError(f"{path}: {place}: expected a table of settings, got {table!r}.")
    found = {}
    for section, values in table.items():
        check_choice(f"{path}: {place}: section", section, SECTIONS)
        if not isinstance(values, dict):
            raise ValueError(f"{path}: {place}.{section}: expected a table of settings, got {values!r}.")
        plain = {name.replace("-", "_"): value for name, value in values.items()}
        for name in plain:
            check_choice(f"{path}: {place}.{section}:", name, setting_names(SECTIONS[section]))
            if section == "data" and name in not_here:
                raise ValueError(f"{path}: {place}.data: {name} decides who is tested; expected it in [sets.NAME].")
        found[section] = plain
    return found


def _from_flags(config: CompareConfig) -> Grid:
    given = {name: getattr(config, name) for name in ("epochs", "batch_size", "lr")}
    optim = {name: value for name, value in given.items() if value is not None}
    common: dict[str, dict[str, Any]] = {"data": {"folds": config.folds}, "optim": optim}
    names = [Path(source).name or source for source in config.data]
    if len(set(names)) < len(names) or len(set(config.methods)) < len(config.methods):
        raise ValueError("a data set or a method is named twice.")
    sets = {
        name: {**common, "data": {**common["data"], "source": source}}
        for name, source in zip(names, config.data, strict=True)
    }
    regimes = {
        "all labels" if share == 1.0 else f"{100 * share:g} % labels": Regime({"data": {"labels": share}})
        for share in config.labels
    }
    for method in config.methods:
        parse_method(method)
    return Grid(sets, regimes, {method: Entry({"distill": {"method": method}}) for method in config.methods})
