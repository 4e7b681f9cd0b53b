"""Own data without code: a folder with dataset.toml, samples.csv, and an array or files for each modality."""

import csv
import difflib
import math
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from pkdot.config import DataConfig
from pkdot.data.batch import Kind, Modality, Record, Schema
from pkdot.data.files import MappedArray, check_stream, files_behind, read_file
from pkdot.data.splits import SPLITS
from pkdot.data.tables import Row
from pkdot.tasks import LOSSES_OF_KIND, Task

KEYS = ("name", "task", "targets", "classes", "prevalent", "privileged", "modalities")
MODALITY_KEYS = ("kind", "source", "rate_hz")
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Stream:
    """Where a modality's samples are: rows of ``array``, or one file (None: missing) for each sample."""

    modality: Modality
    array: MappedArray | None = None
    files: tuple[Path | None, ...] = ()


@dataclass(eq=False)
class Manifest:
    """A data set described by a folder.

    ``records`` follow the lines of samples.csv. An empty target cell makes a sample unlabelled; an empty path cell
    makes its modality missing.
    """

    schema: Schema
    records: Sequence[Record]
    folder: Path
    streams: dict[str, Stream] = field(repr=False)
    rows: Sequence[Row] = field(repr=False)
    config: DataConfig = field(repr=False)

    @classmethod
    def open(cls, path: Path | None, config: DataConfig) -> "Manifest":
        """Read dataset.toml and samples.csv, and learn the shapes: of a file-backed modality from its first file.

        Raises:
            ValueError: one line that names file, line and field, what came and what was expected.
        """
        if path is None:
            raise ValueError("a manifest needs its folder: --data manifest:FOLDER, or --data FOLDER.")
        toml = _Toml(path / "dataset.toml")
        name = toml.text("name")
        task = toml.task()
        declared, prevalent, privileged = toml.modalities()
        from_files = [stream for stream, source in declared.items() if source.source == "files"]
        rows = _read_csv(path / "samples.csv", ["id", "subject", *task.targets, *from_files])
        records = _records(rows, task)
        streams = {stream: _stream(stream, source, path, rows, config) for stream, source in declared.items()}
        schema = Schema(name, task, {key: stream.modality for key, stream in streams.items()}, prevalent, privileged)
        return cls(schema, records, path, streams, rows, config)

    def read(self, index: int) -> dict[str, Tensor]:
        """One sample's modalities; a missing one is absent. Raises ``ValueError`` naming the file."""
        found = {}
        for name, stream in self.streams.items():
            row = self.rows[index]
            if stream.array is not None:
                where = f"{stream.array.path}, row {index} ({row.path.name}, line {row.line})"
                found[name] = stream.array[index]
            elif (file := stream.files[index]) is not None:
                where = f"{file} ({row.path.name}, line {row.line}, field {name})"
                found[name] = read_file(file, stream.modality.kind, stream.modality.rate_hz, self.config)
            else:
                continue
            check_stream(found[name], stream.modality, where)
        return found

    def read_together(self, indices: Sequence[int]) -> dict[str, Tensor] | None:
        """Samples side by side, where all modalities are arrays."""
        arrays = {name: stream.array for name, stream in self.streams.items() if stream.array is not None}
        if len(arrays) < len(self.streams):
            return None
        return {name: array[indices] for name, array in arrays.items()}

    def contents(self) -> Iterator[Path]:
        """Every file that the data set is read from, once, in an order that its tables decide."""
        yield self.folder / "dataset.toml"
        yield self.rows[0].path
        sources: dict[Path, None] = {}
        for stream in self.streams.values():
            found = stream.files if stream.array is None else (stream.array.path,)
            sources.update(dict.fromkeys(path for path in found if path is not None))
        for source in sources:
            yield from files_behind(source)


@dataclass(frozen=True)
class _Source:
    """A modality as dataset.toml declares it."""

    kind: Kind
    source: str
    rate_hz: float | None


class _Toml:
    """dataset.toml, with errors that name its keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.content = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ValueError(f"{path}: no such file; it says what the data set is.") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{path}: expected readable TOML: {error}") from error
        self._check_keys("", self.content, KEYS)

    def text(self, key: str) -> str:
        value = self._required(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, value, "a text in quotes")
        return value

    def names(self, key: str, default: list[str] | None = None) -> tuple[str, ...]:
        value = self._required(key) if default is None else self.content.get(key, default)
        if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
            raise self.error(key, value, "a list of texts in quotes")
        if len(set(value)) < len(value):
            raise self.error(key, value, "each name once")
        return tuple(value)

    def task(self) -> Task:
        kind = self._choice("task", self.text("task"), LOSSES_OF_KIND)
        targets = self.names("targets")
        if kind == "regression":
            if "classes" in self.content:
                raise self.error("classes", self.content["classes"], "no classes for a regression")
            classes: tuple[str, ...] = ()
        else:
            classes = self.names("classes")
        try:
            return Task(kind, targets, classes)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    def modalities(self) -> tuple[dict[str, _Source], tuple[str, ...], tuple[str, ...]]:
        """The modalities, and which of them are prevalent and which privileged."""
        tables = self._required("modalities")
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            raise self.error("modalities", tables, "a table [modalities.NAME] for each modality")
        prevalent, privileged = self.names("prevalent"), self.names("privileged", [])
        if not prevalent:
            raise self.error("prevalent", [], "at least one modality")
        for key, names in (("prevalent", prevalent), ("privileged", privileged)):
            for name in names:
                if name not in tables:
                    expected = f"a modality with a table [modalities.{name}]{_near(name, tables)}"
                    raise self.error(key, name, expected)
        for name in tables:
            if (name in prevalent) == (name in privileged):
                found = "both" if name in prevalent else "neither"
                raise ValueError(
                    f"{self.path}: modality {name!r} is in {found} of prevalent and privileged, expected one."
                )
        return {name: self._source(name, table) for name, table in tables.items()}, prevalent, privileged

    def _source(self, name: str, table: dict[str, Any]) -> _Source:
        where = f"modalities.{name}."
        self._check_keys(where, table, MODALITY_KEYS)
        for key in ("kind", "source"):
            if key not in table:
                raise ValueError(f"{self.path}: key {where}{key} is missing.")
        kind = self._choice(where + "kind", table["kind"], KINDS)
        source = self._choice(where + "source", table["source"], ("array", "files"))
        rate = table.get("rate_hz")
        if rate is None and kind == "audio":
            raise ValueError(f"{self.path}: key {where}rate_hz is missing; audio needs it.")
        if rate is not None and (
            isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf
        ):
            raise self.error(where + "rate_hz", rate, "a number of samples (or frames) per second")
        return _Source(kind, source, None if rate is None else float(rate))

    def _required(self, key: str) -> Any:
        if key not in self.content:
            raise ValueError(f"{self.path}: key {key} is missing.")
        return self.content[key]

    def _check_keys(self, where: str, table: dict[str, Any], known: Sequence[str]) -> None:
        for key in table:
            if key not in known:
                raise ValueError(
                    f"{self.path}: unknown key {where}{key}, expected {', '.join(known)}{_near(key, known)}."
                )

    def _choice(self, key: str, value: Any, choices: Iterable[Any]) -> Any:
        if value not in choices:
            raise self.error(key, value, " or ".join(choices) + _near(value, choices))
        return value

    def error(self, key: str, found: Any, expected: str) -> ValueError:
        return ValueError(f"{self.path}: key {key}: got {found!r}, expected {expected}.")


def _read_csv(path: Path, columns: Sequence[str]) -> list[Row]:
    """The lines of samples.csv below its header, with blanks around cells removed."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: expected a readable table of samples: {error}") from error
    header = lines[0][1] if lines else []
    for column in columns:
        if header.count(column) != 1:
            what = "no column" if column not in header else "more than one column"
            raise ValueError(f"{path}, line 1: {what} {column!r} in {', '.join(header)!r}{_near(column, header)}.")
    if len(lines) < 2:
        raise ValueError(f"{path}: expected a line for each sample below the header, got none.")
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise ValueError(
                f"{path}, line {number}: got {len(cells)} cells, expected {len(header)}: {', '.join(header)}."
            )
    return [Row(path, number, dict(zip(header, cells, strict=True))) for number, cells in lines[1:]]


def _records(rows: Sequence[Row], task: Task) -> list[Record]:
    first: dict[str, int] = {}
    own_split = any(row.cells.get("split") for row in rows)
    records = []
    for row in rows:
        name, subject = row.cells["id"], row.cells["subject"]
        for key in ("id", "subject"):
            if not row.cells[key]:
                raise row.error(key, "a name")
        if first.setdefault(name, row.line) != row.line:
            raise row.error("id", f"a name of its own, line {first[name]} has this one")
        if own_split and row.cells["split"] not in SPLITS:
            raise row.error("split", "train, val or test, or an empty column")
        records.append(Record(name, subject, _target(row, task), row.cells["split"] if own_split else None))
    return records


def _target(row: Row, task: Task) -> tuple[float, ...] | None:
    if any(not row.cells[column] for column in task.targets):
        return None
    return tuple(_target_value(row, column, task) for column in task.targets)


def _target_value(row: Row, column: str, task: Task) -> float:
    cell = row.cells[column]
    if task.kind != "regression":
        if cell not in task.classes:
            raise row.error(column, f"one of {', '.join(task.classes)}{_near(cell, task.classes)}")
        return float(task.classes.index(cell))
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise row.error(column, "a finite number")
    return value


def _stream(name: str, source: _Source, folder: Path, rows: Sequence[Row], config: DataConfig) -> Stream:
    if source.source == "array":
        array = MappedArray(folder / f"{name}.npy", source.kind, len(rows))
        return Stream(Modality(source.kind, tuple(array[0].shape), source.rate_hz), array=array)
    files = tuple(folder / row.cells[name] if row.cells[name] else None for row in rows)
    for row, file in zip(rows, files, strict=True):
        if file is not None and not file.exists():
            raise row.error(name, f"a file below {folder}, there is none")
    known = next((file for file in files if file is not None), None)
    if known is None:
        raise ValueError(f"{rows[0].path}, field {name}: expected a path for one sample at least, got none.")
    shape = tuple(read_file(known, source.kind, source.rate_hz, config).shape)
    return Stream(Modality(source.kind, shape, source.rate_hz), files=files)


def _near(name: Any, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(choices), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
