"""Text tables with a header, read so that a wrong cell is found again."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pkdot.data.disk import brief, read_text

LARGEST = 1e15
"""Largest magnitude of a number that is read: squares of larger ones leave float32, and no sensor has them."""
LONGEST_NAME = 250
"""Of a sample, a subject, a class, a column (characters)."""
_BREAKING = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's control characters, surrogates, and separators of lines and paragraphs."""
FINITE = f"a finite number, at most {LARGEST:g}"


@dataclass(frozen=True)
class Row:
    """A line of a table: its cells by column, and where it stands."""

    path: Path
    line: int
    cells: dict[str, str]

    def error(self, field: str, expected: str) -> ValueError:
        """What to raise if a cell is not what was expected."""
        got = brief(repr(self.cells[field]))
        return ValueError(f"{self.path}, line {self.line}, field {field}: got {got}, expected {expected}.")


def to_number(cell: str) -> float | None:
    """The number that a cell holds; None where it holds none, or one that is not finite or beyond ``LARGEST``."""
    try:
        value = float(cell) if "_" not in cell else math.nan  # 1_000 is a number to Python alone
    except ValueError:
        return None
    return value if abs(value) <= LARGEST else None


def number_name(value: float) -> str:
    """What the class of a number is called: 2.0 is "2"."""
    return str(int(value)) if value == int(value) else repr(float(value))


def is_name(text: str) -> bool:
    """Whether a text can name something: in a cell of a table, and within one line of a message."""
    if not text or len(text) > LONGEST_NAME or text != text.strip():
        return False
    return text.isprintable() or not any(unicodedata.category(letter) in _BREAKING for letter in text)


def read_rows(path: Path, columns: Sequence[str], delimiter: str) -> list[Row]:
    """The lines below the header, without blank ones; cells lose the blanks around them.

    Raises:
        ValueError: the file cannot be read as text, a column is missing or a line has too few or too many cells.
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
    """The named columns as ``(lines, len(columns))``, in the order of ``columns``, all finite; no line is blank.

    Raises:
        ValueError: as :func:`read_rows`; or a cell is not a finite number, with its line and column.
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
    """Write lines that end in a line feed on every system; the folder is made if need be."""
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
