"""Settings in TOML files: recipes, grids and the config of a run. No import of torch."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

Settings = TypeVar("Settings")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file that a flag names.

    Raises:
        ValueError: there is no such file, it cannot be read, or it is not TOML; the message names the file.

    >>> read_toml(Path("nowhere.toml"))
    Traceback (most recent call last):
    ValueError: nowhere.toml: cannot be read (No such file or directory).
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a file.")  # reading from a pipe or a device could take for ever
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid TOML ({error}).") from error


def setting_names(kind: type) -> dict[str, str]:
    """Return the names that a table of settings may have, each with its group; "" means the table itself.

    >>> from pkdot.config import DataConfig
    >>> names = setting_names(DataConfig)
    >>> names["frames"], names["levels"], names["biovid"]
    ('', 'biovid', '')
    """
    names: dict[str, str] = {}
    for part in fields(kind):
        if is_dataclass(part.type):
            names |= {inner.name: part.name for inner in fields(part.type)}
    return names | {part.name: "" for part in fields(kind)}


def settings_from(kind: type[Settings], table: Mapping[str, Any]) -> Settings:
    """Build a dataclass of settings from a table.

    A setting of a group may stand in the group's own table or beside it: older tables have no groups.

    Args:
        kind: the dataclass; its fields may be dataclasses, the groups.
        table: names and values, and tables for groups.

    Raises:
        ValueError: a value is of the wrong type or out of range.
        TypeError: there is no such setting.

    >>> from pkdot.config import DataConfig
    >>> new = settings_from(DataConfig, {"frames": 4, "biovid": {"levels": "ordinal"}})
    >>> new == settings_from(DataConfig, {"frames": 4, "levels": "ordinal"})
    True
    """
    groups: dict[str, Any] = {part.name: part.type for part in fields(kind) if is_dataclass(part.type)}  # type: ignore[arg-type]
    home = setting_names(kind)
    values: dict[str, Any] = {name: value for name, value in table.items() if not home.get(name) and name not in groups}
    for group, inner in groups.items():
        beside = {name: value for name, value in table.items() if home.get(name) == group}
        values[group] = settings_from(inner, beside | dict(table.get(group, {})))
    return kind(**values)
