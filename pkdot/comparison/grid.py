"""What is compared: data sets x regimes x entries, and the settings of each run.

A grid is three named lists of settings, each in the words of a recipe of ``pkdot-distill``: ``[data] source = ...``,
``[optim] epochs = ...``, ``[distill] method = ...``. A run's settings are those of its data set, of its regime and of
its entry, the later over the earlier. An entry may also say whose knowledge it distils (``teacher``), and a regime what
its teachers are given beyond the student's settings (``teacher``, a table), what holds on one data set only
(``sets.NAME``), and on which data sets and with which entries it is run (``only-sets``, ``only-entries``, lists of
names; the controls are always there). An entry too may be for some data sets only (``only-sets``). A data set may
have its own number of ``seeds``, in place of ``--seeds``: one that leaves few people out in turn needs more of them
than one with many folds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pkdot.checks import check_choice
from pkdot.comparison.config import CompareConfig
from pkdot.comparison.report.scores import ALL_LABELS, NONE, PREVALENT_TEACHER, SELF_TRAINING
from pkdot.config import (
    DataConfig,
    DistillConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    StudentRunConfig,
)
from pkdot.methods import parse_method
from pkdot.recipes import read_toml, setting_names, settings_from

Settings = Mapping[str, Mapping[str, Any]]
"""Section to name to value, as a recipe has them."""

TeacherKind = Literal["privileged", "prevalent", "self"]
"""Who teaches: a teacher on all modalities, the same without the privileged ones, or the student's own architecture."""

SECTIONS = {"data": DataConfig, "model": ModelConfig, "optim": OptimConfig, "distill": DistillConfig, "run": RunConfig}

OF_A_SET = ("source", "biovid", "levels", "part", "folds", "fold", "split_seed")
"""Settings of data that the plan of the runs is made by: for ``[sets.NAME]`` alone."""
OF_A_BLOCK = (*OF_A_SET, "protocol", "val", "test")
"""Settings of data that decide who is tested: the same for all that are compared with each other."""


@dataclass(frozen=True)
class Entry:
    """One line of the tables: how a student is trained, and on which data sets: all where no name is given."""

    settings: Settings = field(default_factory=dict)
    teacher: TeacherKind = "privileged"
    only_sets: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """As in ``--method``."""
        return str(self.settings.get("distill", {}).get("method", "ot"))

    @property
    def tuned(self) -> bool:
        """Whether its weight is chosen on validation splits: unless it is given, or there is none."""
        given = {"weight", "balance"} & set(self.settings.get("distill", {}))
        return self.method != "none" and not given


@dataclass(frozen=True)
class Regime:
    """What students and teachers are given, and who takes part: everybody where the names are empty."""

    settings: Settings = field(default_factory=dict)
    teacher: Settings = field(default_factory=dict)
    sets: Mapping[str, Settings] = field(default_factory=dict)
    only_sets: tuple[str, ...] = ()
    only_entries: tuple[str, ...] = ()

    def on(self, data: str) -> tuple[Settings, Settings]:
        """The settings on a data set, the later over the earlier."""
        return self.settings, self.sets.get(data, {})


@dataclass(frozen=True)
class Grid:
    """All that is compared, and the number of seeds of a data set that has its own."""

    sets: Mapping[str, Settings]
    regimes: dict[str, Regime]
    entries: dict[str, Entry]
    seeds: Mapping[str, int] = field(default_factory=dict)


def grid_of(config: CompareConfig) -> Grid:
    """The grid in ``config.grid``, or the one that the flags describe, with the controls. Raises ``ValueError``."""
    grid = read_grid(config.grid) if config.grid else _from_flags(config)
    missing = {name: entry for name, entry in _controls().items() if name not in grid.entries}
    return replace(grid, entries=missing | grid.entries)


def read_grid(path: Path) -> Grid:
    """A grid file. Raises ``ValueError`` that names the file and the table in question."""
    tables = read_toml(path)
    for name in tables:
        check_choice(f"{path}: table", name, ("sets", "regimes", "entries"))
    for name in ("sets", "entries"):
        if not tables.get(name):
            raise ValueError(f"{path}: expected at least one table [{name}.NAME].")
    seeds = _seeds(path, tables["sets"])
    sets = {name: _sections(path, f"sets.{name}", table) for name, table in tables["sets"].items()}
    regimes = {
        name: _regime(path, f"regimes.{name}", table, sets, {**_controls(), **tables["entries"]})
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
    """The numbers of seeds, taken out of the tables: what is left there are settings of a run."""
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


def run_config(*settings: Settings) -> StudentRunConfig:
    """The config that settings describe, the later over the earlier. Raises ``ValueError`` for one out of range."""
    merged: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for given in settings:
        for section, values in given.items():
            merged[section] |= values
    return settings_from(StudentRunConfig, merged)


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


def _controls() -> dict[str, Entry]:
    return {
        NONE: Entry({"distill": {"method": "none"}}),
        ALL_LABELS: Entry({"distill": {"method": "none"}, "data": {"labels": 1.0, "label_noise": 0.0}}),
        SELF_TRAINING: Entry({"distill": {"method": "kd"}}, teacher="self"),
        PREVALENT_TEACHER: Entry({"distill": {"method": "kd"}}, teacher="prevalent"),
    }
