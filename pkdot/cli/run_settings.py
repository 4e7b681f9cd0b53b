"""A check that the config.toml of a run is complete, before a run is trained with it."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

log = logging.getLogger(__name__)

MOST_NAMED = 3


def check_whole(path: Path, table: Mapping[str, Any], kind: type, *, resumed: bool) -> None:
    """Refuse a config that is empty or incomplete: it would train another model than the run's.

    Args:
        path: of the file.
        table: its content.
        kind: the dataclass of the settings.
        resumed: a resumed run needs every setting. Other recipes may lack settings, but not all; if a run has written
            the file, a warning says what is missing.

    Raises:
        ValueError: a setting is missing that must not be; the message names the file and the setting.

    >>> from pkdot.config import StudentRunConfig
    >>> check_whole(Path("mine.toml"), {}, StudentRunConfig, resumed=False)
    Traceback (most recent call last):
    ValueError: mine.toml: expected settings, found none.
    """
    if not table:
        raise ValueError(f"{path}: expected settings, found none.")
    if not resumed and "command" not in table:
        return
    lacking = [*(() if "command" in table else ("command",)), *_lacking(table, kind, "")]
    cut = not path.read_bytes().endswith(b"\n")
    if cut or (lacking and resumed):
        missing = f"no {', '.join(lacking[:MOST_NAMED])}" if lacking else "no end of its last line"
        raise ValueError(f"{path}: cut, or written by another version: {missing}; expected all settings of a run.")
    if lacking:
        log.warning(
            "%s lacks %d settings, such as %s: their defaults are used. It was cut, or another version wrote it.",
            path,
            len(lacking),
            lacking[0],
        )


def _lacking(table: Mapping[str, Any], kind: type, prefix: str) -> Iterator[str]:
    """The names of the settings that are missing; a setting whose default is None may be missing."""
    hints = get_type_hints(kind)
    for setting in fields(kind):
        name, part = f"{prefix}{setting.name}", table.get(setting.name)
        if is_dataclass(hints[setting.name]):
            # In older files the settings of a group within a section stand in the section itself.
            beside = table if prefix else {}
            inner = {**beside, **part} if isinstance(part, Mapping) else beside
            yield from _lacking(inner, hints[setting.name], f"{name}.")
        elif part is None and _default(setting) is not None:
            yield name


def _default(setting: "Field[Any]") -> Any:
    return setting.default_factory() if setting.default_factory is not MISSING else setting.default
