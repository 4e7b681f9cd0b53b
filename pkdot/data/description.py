"""Read dataset.toml, the description of a data set. Errors name the file and the key."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pkdot.data.batch import Kind
from pkdot.data.disk import SETTINGS_MB, brief, decoding, read_text
from pkdot.data.media import SOUND_HZ
from pkdot.data.tables import LARGEST, LONGEST_NAME, is_name, number_name
from pkdot.tasks import LOSSES_OF_KIND, TaskKind

KEYS = ("name", "task", "targets", "classes", "prevalent", "privileged", "modalities")
MODALITY_KEYS = ("kind", "source", "rate_hz")
KINDS: tuple[Kind, ...] = get_args(Kind)
OWN_COLUMNS = ("id", "subject", "split")
"""Columns of samples.csv whose meaning is fixed."""
MOST_CLASSES = 5000
MOST_MODALITIES = 32
"""Largest number of modalities: the time of a teacher with cross-attention grows with its square."""
RATES_HZ = (1e-6, 1e7)

_DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:"[^"\n]*+"|'[^'\n]*+'|[\w-]++)[ \t]*+\.[ \t]*+){50}""")
"""A key of fifty parts or more: the time in which tomllib reads it grows with the square of that number."""
_NAME = f"texts in quotes of at most {LONGEST_NAME} characters in one line"


@dataclass(frozen=True)
class Source:
    """A modality as dataset.toml declares it.

    >>> Source("signal", source="array", rate_hz=50.0)
    Source(kind='signal', source='array', rate_hz=50.0)
    """

    kind: Kind
    source: str
    rate_hz: float | None


class Description:
    """The content of a dataset.toml. Each method reads one key and checks it.

    Raises:
        ValueError: the file is no TOML or has an unknown key. This error and those of the methods say in one line
            which file and key are wrong, what came and what was expected.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "dataset.toml")
        ...     _ = path.write_text('name = "watch"; task = "regression"'.replace("; ", chr(10)))
        ...     toml = Description(path)
        >>> toml.name(), toml.task(), toml.classes()
        ('watch', 'regression', ())
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text = read_text(path, "readable TOML, which says what the data set is", SETTINGS_MB)
        with decoding(path, "readable TOML"):
            if _DEEP_KEY.search(text):
                raise RecursionError
            self.content = tomllib.loads(text)
        self._check_keys("", self.content, KEYS)

    def name(self) -> str:
        """The name of the data set."""
        value = self._required("name")
        if not isinstance(value, str) or not is_name(value):
            raise self.error("name", value, f"a text in quotes of at most {LONGEST_NAME} characters in one line")
        return value

    def task(self) -> TaskKind:
        """The kind of the task: classification, ordinal or regression."""
        kind: TaskKind = self._choice("task", self._required("task"), LOSSES_OF_KIND)
        return kind

    def targets(self) -> tuple[str, ...]:
        """The target columns: one, or several for a regression."""
        names = self._names("targets")
        if not names or (self.task() != "regression" and len(names) > 1):
            raise self.error("targets", list(names), "one target column, or several for a regression")
        for name in names:
            if name in OWN_COLUMNS:
                raise self.error("targets", name, f"a column other than {', '.join(OWN_COLUMNS)}")
        return names

    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes: empty for a regression, None if they have to be read from the target column."""
        found = self.content.get("classes")
        if self.task() == "regression":
            if found is not None:
                raise self.error("classes", found, "no classes for a regression")
            return ()
        if found is None:
            return None
        if isinstance(found, list) and found and all(_is_number(value) for value in found):
            found = [number_name(value) for value in found]
        names = self._checked("classes", found, f"a list of numbers, or of {_NAME}")
        if len(names) < 2:
            raise self.error("classes", found, "at least two different classes")
        if len(names) > MOST_CLASSES:
            raise ValueError(f"{self.path}: key classes: got {len(names)} classes, expected at most {MOST_CLASSES}.")
        return names

    def modalities(self) -> tuple[dict[str, Source], tuple[str, ...], tuple[str, ...]]:
        """The modalities by name, the names of the prevalent ones, and the names of the privileged ones."""
        tables = self._required("modalities")
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            raise self.error("modalities", tables, "a table [modalities.NAME] for each modality")
        if len(tables) > MOST_MODALITIES:
            raise ValueError(
                f"{self.path}: key modalities: got {len(tables)} modalities, expected at most {MOST_MODALITIES}; "
                "sensors of one kind and rate are channels of one modality."
            )
        prevalent, privileged = self._names("prevalent"), self._names("privileged", [])
        if not prevalent:
            raise self.error("prevalent", [], "at least one modality")
        for key, names in (("prevalent", prevalent), ("privileged", privileged)):
            for name in names:
                if name not in tables:
                    raise self.error(
                        key, name, f"a modality with a table [modalities.{brief(name)}]{near(name, tables)}"
                    )
        for name in tables:
            if (name in prevalent) == (name in privileged):
                found = "both" if name in prevalent else "neither"
                raise ValueError(
                    f"{self.path}: modality {brief(repr(name))} is in {found} of prevalent and privileged, "
                    "expected exactly one of them."
                )
        return {name: self._source(name, table) for name, table in tables.items()}, prevalent, privileged

    def _source(self, name: str, table: dict[str, Any]) -> Source:
        if not is_name(name) or "/" in name or "\\" in name:
            # NAME.npy is a file of the data folder, or NAME a column of samples.csv.
            raise self.error("modalities", name, f"a name without slashes, of at most {LONGEST_NAME} characters")
        where = f"modalities.{name}."
        self._check_keys(where, table, MODALITY_KEYS)
        for key in ("kind", "source"):
            if key not in table:
                raise ValueError(f"{self.path}: key {where}{key} is missing.")
        kind = self._choice(where + "kind", table["kind"], KINDS)
        source = self._choice(where + "source", table["source"], ("array", "files"))
        if source == "files" and name in (*OWN_COLUMNS, *self.targets()):
            expected = f"'array', or another modality name: column {name} of samples.csv has a meaning of its own"
            raise self.error(where + "source", source, expected)
        rate = table.get("rate_hz")
        if rate is None and kind == "audio":
            raise ValueError(f"{self.path}: key {where}rate_hz is missing; audio needs it.")
        least, most = SOUND_HZ if kind == "audio" else RATES_HZ
        if rate is not None and not (_is_number(rate) and least <= rate <= most):
            expected = f"a number of samples (or frames) per second, {least:g} to {most:g}"
            raise self.error(where + "rate_hz", rate, expected)
        return Source(kind, source, None if rate is None else float(rate))

    def _names(self, key: str, default: list[str] | None = None) -> tuple[str, ...]:
        value = self._required(key) if default is None else self.content.get(key, default)
        return self._checked(key, value, f"a list of {_NAME}")

    def _checked(self, key: str, value: Any, expected: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) and is_name(name) for name in value):
            raise self.error(key, value, expected)
        if len(set(value)) < len(value):
            raise self.error(key, value, "each name once")
        return tuple(value)

    def _required(self, key: str) -> Any:
        if key not in self.content:
            raise ValueError(f"{self.path}: key {key} is missing.")
        return self.content[key]

    def _check_keys(self, where: str, table: dict[str, Any], known: Sequence[str]) -> None:
        for key in table:
            if key not in known:
                raise ValueError(
                    f"{self.path}: unknown key {brief(where + key)}, expected {', '.join(known)}{near(key, known)}."
                )

    def _choice(self, key: str, value: Any, choices: Iterable[Any]) -> Any:
        choices = list(choices)
        if value not in choices:
            raise self.error(key, value, " or ".join(choices) + near(value, choices))
        return value

    def error(self, key: str, found: Any, expected: str) -> ValueError:
        """The error to raise for a wrong value of a key."""
        return ValueError(f"{self.path}: key {brief(key)}: got {brief(repr(found))}, expected {expected}.")


def near(name: Any, choices: Iterable[str]) -> str:
    """A hint at the choice that was probably meant; empty if none is close.

    >>> near("vidoe", ["video", "audio"]), near("smell", ["video", "audio"])
    (" (did you mean 'video'?)", '')
    """
    asked = str(name)
    close = difflib.get_close_matches(asked, list(choices), n=1) if len(asked) <= LONGEST_NAME else []
    return f" (did you mean {close[0]!r}?)" if close else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
