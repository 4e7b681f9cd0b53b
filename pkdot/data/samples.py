"""samples.csv of a manifest: the samples, who they are of, and what is asked about them."""

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
"""Most of a samples.csv: millions of samples."""
FEW_CLASSES = 20
"""So many classes are read off a column however few its samples are."""


def read_samples(path: Path, columns: Sequence[str]) -> list[Row]:
    """The lines of samples.csv below its header, with blanks around cells removed.

    Of a line the cells of ``columns`` are kept, and that of ``split`` where there is one.

    Raises:
        ValueError: a column is missing or there twice, a line is too short or too long, or there is none.
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
    """Numbers and cells of the lines that are not empty."""
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
        # Unnoticed, a column Split would leave the data set's own split unused.
        raise ValueError(f"{where}: got {', '.join(splits)!r}, expected at most one column 'split'.")


def records_of(rows: Sequence[Row], task: Task) -> list[Record]:
    """A record for each row. Raises ``ValueError`` that names the line and field of a wrong cell."""
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
            raise row.error("id", f"a name of its own, line {first[name]} has this one")
        if own_split and row.cells["split"] not in SPLITS:
            raise row.error("split", "train, val or test, or an empty column")
        records.append(Record(name, subject, target_of(row), row.cells["split"] if own_split else None))
    return records


def classes_in(rows: Sequence[Row], column: str, *, ordered: bool) -> tuple[str, ...]:
    """The classes that stand in a column, in the order of the numbers if all are numbers, else of the alphabet.

    Raises:
        ValueError: fewer than two, more than classes can be, numbers beside names, or no numbers where an order is
            needed.
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
            raise row.error(column, "the name of a class, or nothing where it is not known")
    where = f"{rows[0].path}, field {column}"
    if ordered and not numbers:
        raise ValueError(f"{where}: expected numbers, or key classes in dataset.toml with the names in their order.")
    names = tuple(number_name(value) for value in sorted(numbers)) if numbers else tuple(sorted(first))
    labelled = sum(1 for row in rows if row.cells[column])
    if len(names) < 2:
        raise ValueError(f"{where}: expected at least two different classes, got {brief(', '.join(names)) or 'none'}.")
    if len(names) > min(MOST_CLASSES, max(FEW_CLASSES, labelled // 2)):
        raise ValueError(
            f"{where}: got {len(names)} different values in {labelled} samples, too many for classes that are not "
            "named; is it a regression, or should key classes in dataset.toml name them?"
        )
    return names


def _reader_of_targets(task: Task) -> Callable[[Row], tuple[float, ...] | None]:
    """What reads a row's targets; None for a row in which one is empty."""
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
    """What finds a cell's class: by its name, or where all names are numbers by its number ("2.0" is class 2)."""
    by_name = {name: place for place, name in enumerate(classes)}
    by_number = {to_number(name): place for place, name in enumerate(classes)}
    if None in by_number or len(by_number) < len(classes):
        return by_name.get
    return lambda cell: by_name.get(cell, by_number.get(to_number(cell)))
