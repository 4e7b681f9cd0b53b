"""Text tables with a header line; an error names the line and the column of a wrong cell."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pkdot.data.disk import brief, read_text

LARGEST = 1e15
"""Largest magnitude of a number that is accepted: no sensor has larger ones, and float32 can hold its square."""
LONGEST_NAME = 250
"""Longest name of a sample, a subject, a class or a column (characters)."""
_BREAKING = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories that break a line of a message: control characters, surrogates, line and paragraph breaks."""
FINITE = f"a finite number, at most {LARGEST:g}"


@dataclass(frozen=True)
class Row:
    """One line of a table: where it is, and its cells by column.

    >>> row = Row(Path("samples.csv"), 7, {"subject": "", "age": "4o"})
    >>> str(row.error("age", "a number"))
    "samples.csv, line 7, field age: got '4o', expected a number."
    """

    path: Path
    line: int
    cells: dict[str, str]

    def error(self, field: str, expected: str) -> ValueError:
        """The error to raise for a wrong cell."""
        got = brief(repr(self.cells[field]))
        return ValueError(f"{self.path}, line {self.line}, field {field}: got {got}, expected {expected}.")


def to_number(cell: str) -> float | None:
    """The number in a cell; None if it is no number, not finite, or larger than ``LARGEST``.

    >>> to_number("1e3"), to_number("inf"), to_number("1_000"), to_number("three")
    (1000.0, None, None, None)
    """
    try:
        value = float(cell) if "_" not in cell else math.nan  # only Python takes 1_000 for a number
    except ValueError:
        return None
    return value if abs(value) <= LARGEST else None


def number_name(value: float) -> str:
    """The name of a class that is a number.

    >>> number_name(2.0), number_name(2.5)
    ('2', '2.5')
    """
    return str(int(value)) if value == int(value) else repr(float(value))


def is_name(text: str) -> bool:
    r"""Whether a text can be a name: printable in one line, without blanks around it, and not too long.

    >>> is_name("anna"), is_name(""), is_name(" anna"), is_name("an\nna")
    (True, False, False, False)
    """
    if not text or len(text) > LONGEST_NAME or text != text.strip():
        return False
    return text.isprintable() or not any(unicodedata.category(letter) in _BREAKING for letter in text)


def read_rows(path: Path, columns: Sequence[str], delimiter: str) -> list[Row]:
    """Read the lines below the header. Blank lines are skipped, and blanks around a cell are removed.

    Args:
        path: the file.
        columns: the columns that must exist; others are read too.
        delimiter: between two cells.

    Raises:
        ValueError: the file is no text, a column is missing, or a line has too few or too many cells.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "table.csv")
        ...     write_lines(path, ["id,age", "", "a, 41"])
        ...     [(row.line, row.cells) for row in read_rows(path, ["age"], ",")]
        [(3, {'id': 'a', 'age': '41'})]
    """
    lines = read_text(path, "a readable text table").splitlines()
    header = _header(path, lines, columns, delimiter)
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(delimiter)]
        if len(cells) != len(header):
            raise _wrong_width(path, number, cells, header)
        rows.append(Row(path, number, dict(zip(header, cells, strict=True))))
    return rows


def read_numbers(path: Path, columns: Sequence[str], delimiter: str) -> NDArray[np.float64]:
    """Read columns of numbers: float64 ``(lines, len(columns))``, in the order of ``columns``.

    Raises:
        ValueError: as for :func:`read_rows`; also if a line is blank or a cell is not a finite number.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "bio.csv")
        ...     write_lines(path, ["time,gsr,ecg", "0,2.5,400", "1,2.6,410"])
        ...     read_numbers(path, ["ecg", "gsr"], ",")
        array([[400. ,   2.5],
               [410. ,   2.6]])
    """
    lines = read_text(path, "a readable text table").rstrip().splitlines()
    header = _header(path, lines, columns, delimiter)
    places = [header.index(column) for column in columns]
    for number, line in enumerate(lines[1:], start=2):
        if line.count(delimiter) != len(header) - 1:
            raise _wrong_width(path, number, line.split(delimiter), header)
    if len(lines) == 1:
        return np.empty((0, len(columns)))
    try:
        numbers = np.loadtxt(lines[1:], np.float64, comments=None, delimiter=delimiter, usecols=places, ndmin=2)
    except Exception as error:
        raise _first_bad_number(path, columns, delimiter) from error
    if not (np.abs(numbers) <= LARGEST).all():
        raise _first_bad_number(path, columns, delimiter)
    return numbers


def write_lines(path: Path, lines: Sequence[str]) -> None:
    r"""Write ASCII lines, each ended by a line feed on every system. The folder is made if it does not exist.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_lines(Path(folder, "new", "a.txt"), ["one", "two"])
    ...     Path(folder, "new", "a.txt").read_bytes()
    b'one\ntwo\n'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]), encoding="ascii", newline="\n")


def _first_bad_number(path: Path, columns: Sequence[str], delimiter: str) -> ValueError:
    for row in read_rows(path, columns, delimiter):
        for column in columns:
            if to_number(row.cells[column]) is None:
                return row.error(column, FINITE)
    return ValueError(f"{path}: expected a table of numbers.")


def _wrong_width(path: Path, line: int, cells: Sequence[str], header: Sequence[str]) -> ValueError:
    names = brief(", ".join(header))
    return ValueError(f"{path}, line {line}: got {len(cells)} cells, expected {len(header)}: {names}.")


def _header(path: Path, lines: list[str], columns: Sequence[str], delimiter: str) -> list[str]:
    header = [cell.strip() for cell in lines[0].split(delimiter)] if lines else []
    for column in columns:
        if header.count(column) > 1:
            raise ValueError(f"{path}, line 1: more than one column {column!r} in {brief(header)}.")
        if column not in header:
            separated = {"\t": "tabs", ",": "commas"}.get(delimiter, repr(delimiter))
            expected = f"{', '.join(columns)} separated by {separated}"
            raise ValueError(f"{path}, line 1: no column {column!r} among {brief(header)}; expected {expected}.")
    return header
