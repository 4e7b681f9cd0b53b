"""The report of a comparison, in Markdown, and with its figure and page on disk."""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pkdot.comparison.report.document import Section, document
from pkdot.comparison.report.figure import draw
from pkdot.comparison.report.page import html
from pkdot.comparison.report.scores import Score, write_scores
from pkdot.comparison.report.tables import Table

log = logging.getLogger(__name__)

TITLE = "Distillation methods compared"

_MARKUP = re.compile(
    r"""
      (?P<list> ^\d{1,9}[.)](?=\ ) )
    | (?P<letters> [\\`] | ^\#+ | \#+$ | ^> | ^[-+](?=\ ) | ^\[ | \](?=[(\[]) )
    | (?P<emphasis> \*+ | _+ )
    | (?P<entity> &(?=\#?\w+;) | <(?=[A-Za-z/!?]) | [$~] )
    """,
    re.VERBOSE,
)
"""What Markdown, or the HTML and mathematics in it, could take for more than a letter."""


def markdown(
    scores: Iterable[Score], *, title: str, command: str, notes: Sequence[str] = (), figure: str | None = None
) -> str:
    """The report as Markdown.

    Args:
        scores: of all runs that are finished.
        title: first heading.
        command: that made it, printed as it is, whatever stands in it.
        notes: sentences for the end.
        figure: path of a picture to show, relative to where the text will lie.

    Raises:
        ValueError: no score, a run scored twice, or two metrics in one data set and regime.
    """
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))
    parts = [f"# {literal(title)}", f"{fence}\n{command}\n{fence}"]
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
    parts = [f"## {literal(section.heading)}", *map(literal, section.paragraphs)]
    parts += ["\n".join(f"- {literal(bullet)}" for bullet in section.bullets)] if section.bullets else []
    parts += [_table(section.table)] if section.table is not None else []
    return "\n\n".join(parts)


def _table(table: Table) -> str:
    width = len(table.header)
    lines = [_row(map(_cell, table.header)), _row("---" if words else "---:" for words in table.worded)]
    for name, rows in table.groups:
        lines += [_row([f"**{name}**", *[""] * (width - 1)])] if name else []
        lines += [_row(_cell(cell.text) for cell in row) for row in rows]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return literal(text).replace("|", r"\|")


def literal(text: str) -> str:
    """A text as Markdown that shows it as it is, on one line: a data set may be called ``*<b>[x](y)``."""
    return _MARKUP.sub(_escaped, " ".join(text.split()))


def _escaped(found: re.Match[str]) -> str:
    markup, text = found[0], found.string
    if found["list"]:
        return f"{markup[:-1]}\\{markup[-1]}"
    if found["entity"]:
        return f"&#{ord(markup)};"
    if found["emphasis"]:
        before, after = text[: found.start()][-1:], text[found.end() :][:1]
        # Between spaces, and an underscore within a word, it opens and closes nothing.
        alone = not before.strip() and not after.strip()
        if alone or (markup[0] == "_" and before.isalnum() and after.isalnum()):
            return markup
    return "".join(f"\\{letter}" for letter in markup)
