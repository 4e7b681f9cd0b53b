"""The report of a comparison, in Markdown, and with its figure and page on disk."""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pkdot.comparison.document import Section, document
from pkdot.comparison.figure import draw
from pkdot.comparison.page import html
from pkdot.comparison.scores import Score, write_scores
from pkdot.comparison.tables import Table

log = logging.getLogger(__name__)

TITLE = "Distillation methods compared"


def markdown(
    scores: Iterable[Score], *, title: str, command: str, notes: Sequence[str] = (), figure: str | None = None
) -> str:
    """The report as Markdown.

    Args:
        scores: of all runs that are finished.
        title: first heading.
        command: that made it, printed as it is.
        notes: sentences for the end.
        figure: path of a picture to show, relative to where the text will lie.

    Raises:
        ValueError: no score, a run scored twice, or two metrics in one data set and regime.
    """
    parts = [f"# {_plain(title)}", f"```\n{command}\n```"]
    parts += [f"![Differences to the undistilled student]({figure})"] if figure else []
    parts += [_section(section) for section in document(scores, notes)]
    return "\n\n".join(parts) + "\n"


def write_report(
    scores: Sequence[Score], out: Path, *, command: str, notes: Sequence[str] = (), title: str = TITLE
) -> Path:
    """Write ``report.md``, ``report.html``, ``scores.csv`` and, where matplotlib is installed, ``report.png``.

    Returns the first.

    Raises:
        ValueError: as ``markdown`` does; nothing is written then.
    """
    figure: Path | None = None
    try:
        figure = draw(scores, out / "report.png")
    except ModuleNotFoundError as missing:
        log.info("%s", missing)
    text = markdown(scores, title=title, command=command, notes=notes, figure=figure.name if figure else None)
    page = html(scores, title=title, command=command, notes=notes, figure=figure)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.html").write_text(page, encoding="utf-8")
    write_scores(scores, out / "scores.csv")
    path = out / "report.md"
    path.write_text(text, encoding="utf-8")
    return path


def _section(section: Section) -> str:
    parts = [f"## {_plain(section.heading)}", *map(_plain, section.paragraphs)]
    parts += ["\n".join(f"- {_plain(bullet)}" for bullet in section.bullets)] if section.bullets else []
    parts += [_table(section.table)] if section.table is not None else []
    return "\n\n".join(parts)


def _table(table: Table) -> str:
    width = len(table.header)
    lines = [_row(table.header), _row(["---" if words else "---:" for words in table.worded])]
    for name, rows in table.groups:
        lines += [_row([f"**{name}**", *[""] * (width - 1)])] if name else []
        lines += [_row([cell.text for cell in row]) for row in rows]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_plain(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _plain(text: str) -> str:
    """On one line, and without emphasis by the stars of names such as ot+0.5*kd+2*hint."""
    return re.sub(r"(?<=[^\s*])\*(?=[^\s*])", r"\\*", " ".join(text.split()))
