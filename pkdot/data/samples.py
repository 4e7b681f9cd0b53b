"""Read samples.csv of a manifest: the samples with their subjects, targets and splits."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pkdot.data.batch import Record
from pkdot.data.description import MOST_CLASSES, near
from pkdot.data.disk import brief, decoding, read_text
from pkdot.data.splits import SPLITS
from pkdot.data.tables import FINITE, LONGEST_NAME, Row, is_name, number_name, to_number
from pkdot.tasks import Task

SAMPLES_MB = 256
"""Largest samples.csv: millions of samples."""
FEW_CLASSES = 20
"""A column may always have up to this number of classes, even if there are few samples."""


def read_samples(path: Path, columns: Sequence[str]) -> list[Row]:
    """Read the lines of samples.csv below its header. Blanks around cells are removed.

    The cells of ``columns`` are kept, and those of the column ``split`` if there is one.

    Raises:
        ValueError: a column is missing or appears twice, a line has too few or too many cells, or there is no line.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "samples.csv")
        ...     _ = path.write_text("id,subject,note" + chr(10) + "a,anna,tired")
        ...     [(row.line, row.cells) for row in read_samples(path, ["id", "subject"])]
        [(2, {'id': 'a', 'subject': 'anna'})]
    """
    lines = _lines(path)
    line, header = next(lines, (1, []))
    _check_header(f"{path}, line {line}", header, columns)
    kept = {name: header.index(name) for name in (*columns, *(["split"] if "split" in header else []))}
    rows = []
    for number, cells in lines:
        if len(cells) != len(header):
            names = brief(", ".join(header))
            raise ValueError(f"{path}, line {number}: got {len(cells)} cells, expected {len(header)}: {names}.")
        rows.append(Row(path, number, {name: cells[place] for name, place in kept.items()}))
    if not rows:
        raise ValueError(f"{path}: expected a line for each sample below the header, got none.")
    return rows


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of every line that is not empty."""
    what = "a readable table of samples"
    text = read_text(path, what, SAMPLES_MB)
    with decoding(path, what):
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        for cells in reader:
            if any(cells):
                yield reader.line_num, [cell.strip() for cell in cells]


def _check_header(where: str, header: Sequence[str], columns: Sequence[str]) -> None:
    names = brief(repr(", ".join(header)))
    if len(header) == 1 and (mark := next((mark for mark in "\t;|" if mark in header[0]), None)):
        raise ValueError(f"{where}: expected cells separated by commas, got {mark!r} in {names}.")
    for column in columns:
        if header.count(column) != 1:
            what = "no column" if column not in header else "more than one column"
            raise ValueError(f"{where}: {what} {brief(repr(column))} in {names}{near(column, header)}.")
    splits = [name for name in header if name.casefold() == "split"]
    if splits not in ([], ["split"]):
        # If a column "Split" were ignored, the data set's own split would not be used, and nobody would notice.
        raise ValueError(f"{where}: got {', '.join(splits)!r}, expected at most one column 'split'.")


def records_of(rows: Sequence[Row], task: Task) -> list[Record]:
    """Turn rows into records. Raises ``ValueError`` with the line and field of a wrong cell.

    >>> task = Task("classification", ("pain",), ("no", "yes"))
    >>> cells = [{"id": "a", "subject": "anna", "pain": "yes"}, {"id": "b", "subject": "anna", "pain": "yse"}]
    >>> rows = [Row(Path("samples.csv"), line, row) for line, row in enumerate(cells, start=2)]
    >>> records_of(rows[:1], task)
    [Record(id='a', subject='anna', target=(1.0,), split=None)]
    >>> records_of(rows, task)
    Traceback (most recent call last):
    ValueError: samples.csv, line 3, field pain: got 'yse', expected one of no, yes (did you mean 'yes'?).
    """
    first: dict[str, int] = {}
    own_split = any(row.cells.get("split") for row in rows)
    target_of = _reader_of_targets(task)
    records = []
    for row in rows:
        name, subject = row.cells["id"], row.cells["subject"]
        for key in ("id", "subject"):
            if not is_name(row.cells[key]):
                raise row.error(key, f"a name of 1 to {LONGEST_NAME} characters in one line")
        if first.setdefault(name, row.line) != row.line:
            raise row.error("id", f"an id of its own, but line {first[name]} has the same")
        if own_split and row.cells["split"] not in SPLITS:
            raise row.error("split", "train, val or test, or an empty column")
        records.append(Record(name, subject, target_of(row), row.cells["split"] if own_split else None))
    return records


def classes_in(rows: Sequence[Row], column: str, *, ordered: bool) -> tuple[str, ...]:
    """The different classes in a column: in numerical order if all are numbers, otherwise in alphabetical order.

    Args:
        rows: the lines of the table.
        column: the target column; empty cells are ignored.
        ordered: whether the classes are a scale; they must then be numbers.

    Raises:
        ValueError: fewer than two classes, too many classes, numbers mixed with names, or names where an order is
            needed.

    Example:
        >>> rows = [Row(Path("samples.csv"), 2, {"level": cell}) for cell in ("10", "2", "", "10")]
        >>> classes_in(rows, "level", ordered=True)
        ('2', '10')
    """
    first: dict[str, Row] = {}
    for row in rows:
        if row.cells[column]:
            first.setdefault(row.cells[column], row)
    numbers = {value for cell in first if (value := to_number(cell)) is not None}
    for cell, row in first.items():
        if numbers and to_number(cell) is None:
            raise row.error(column, f"{FINITE}, as in other lines, or key classes in dataset.toml with all names")
        if not is_name(cell) or cell.casefold() == "nan":
            raise row.error(column, "the name of a class, or an empty cell if it is unknown")
    where = f"{rows[0].path}, field {column}"
    if ordered and not numbers:
        raise ValueError(f"{where}: expected numbers, or key classes in dataset.toml with the names in their order.")
    names = tuple(number_name(value) for value in sorted(numbers)) if numbers else tuple(sorted(first))
    labelled = sum(1 for row in rows if row.cells[column])
    if len(names) < 2:
        raise ValueError(f"{where}: expected at least two different classes, got {brief(', '.join(names)) or 'none'}.")
    if len(names) > min(MOST_CLASSES, max(FEW_CLASSES, labelled // 2)):
        raise ValueError(
            f"{where}: got {len(names)} different values in {labelled} samples, too many for classes; "
            "is it a regression? If not, name them all in key classes of dataset.toml."
        )
    return names


def _reader_of_targets(task: Task) -> Callable[[Row], tuple[float, ...] | None]:
    """A function from a row to its targets; it returns None if a target cell is empty."""
    place = _places(task.classes)

    def value(row: Row, column: str) -> float:
        cell = row.cells[column]
        if task.kind == "regression":
            found, expected = to_number(cell), FINITE
        else:
            found = place(cell)
            expected = "" if found is not None else f"one of {brief(', '.join(task.classes))}{near(cell, task.classes)}"
        if found is None:
            raise row.error(column, expected)
        return float(found)

    def targets(row: Row) -> tuple[float, ...] | None:
        if any(not row.cells[column] for column in task.targets):
            return None
        return tuple(value(row, column) for column in task.targets)

    return targets


def _places(classes: Sequence[str]) -> Callable[[str], int | None]:
    """A function from a cell to the index of its class, by name, or by value if all names are numbers ("2.0" is 2)."""
    by_name = {name: place for place, name in enumerate(classes)}
    by_number = {to_number(name): place for place, name in enumerate(classes)}
    if None in by_number or len(by_number) < len(classes):
        return by_name.get
    return lambda cell: by_name.get(cell, by_number.get(to_number(cell)))
