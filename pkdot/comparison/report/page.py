"""The report as one HTML page that needs no other file."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path

from pkdot.comparison.report.document import Document, Section
from pkdot.comparison.report.tables import Table, TableCell

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --paper: #fff; --line: #d5dae1; --soft: #f3f5f8;
  --helps: #00568a; --harms: #a83c00; --tie: #5b6470; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14181f; --line: #3a424e; --soft: #1e242d;
  --helps: #6cc0f5; --harms: #ff9a5c; --tie: #a4adba; } }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
p, ul { max-width: 48rem; } li { margin: .2rem 0; }
pre { padding: .6rem .8rem; background: var(--soft); overflow-x: auto; }
img { display: block; width: 100%; min-width: 44rem; height: auto; background: #fff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; }
th.word, td.word, th[scope=row], .group th { text-align: left; }
th[scope=row] { position: sticky; left: 0; background: var(--paper); font-weight: 500; }
.group th { background: var(--soft); font-weight: 700; }
.helps { color: var(--helps); font-weight: 700; } .helps::before { content: "▲ "; }
.harms { color: var(--harms); font-weight: 700; } .harms::before { content: "▼ "; }
.tie { color: var(--tie); } .tie::before { content: "○ "; }
"""
# A symbol before the text shows the verdict without colour.
_CLASSES = {"helps": "helps", "harms": "harms", "no difference": "tie"}

_BEFORE_FIGURE = 3
"""Parts of the page above the figure: the title, the command and the section "In short"."""


def html(report: Document, *, figure: Path | None = None) -> str:
    """A report as a page: the sections and rows of the Markdown, with ``figure`` (a PNG) embedded.

    Raises:
        ValueError: ``figure`` cannot be read.
    """
    title = escape(report.title)
    body = [f"<h1>{title}</h1>", f"<pre>{escape(report.command)}</pre>", *map(_section, report.sections)]
    if figure is not None:
        body.insert(_BEFORE_FIGURE, _picture(figure))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{chr(10).join(body)}\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.heading)}</h2>", *(f"<p>{escape(text)}</p>" for text in section.paragraphs)]
    if section.bullets:
        parts.append(f"<ul>{''.join(f'<li>{escape(bullet)}</li>' for bullet in section.bullets)}</ul>")
    if section.table is not None:
        parts.append(_table(section.table))
    return f"<section>{chr(10).join(parts)}</section>"


def _table(table: Table) -> str:
    kinds = [' class="word"' if words else "" for words in table.worded]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(table.header, kinds, strict=True))
    bodies = []
    for name, rows in table.groups:
        lines = [f'<tr class="group"><th colspan="{len(table.header)}">{escape(name)}</th></tr>'] if name else []
        bodies.append(f"<tbody>{chr(10).join([*lines, *(_row(row, table) for row in rows)])}</tbody>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>{"".join(bodies)}</table></div>'


def _row(cells: Sequence[TableCell], table: Table) -> str:
    texts = map(_cell, cells[1:], table.worded[1:])
    return f'<tr><th scope="row">{escape(cells[0].text)}</th>{"".join(texts)}</tr>'


def _cell(cell: TableCell, words: bool) -> str:
    kinds = [*(["word"] if words else []), *([_CLASSES[cell.tone]] if cell.tone else [])]
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<td{kind}>{escape(cell.text)}</td>"


def _picture(figure: Path) -> str:
    try:
        data = b64encode(figure.read_bytes()).decode()
    except OSError as error:
        raise ValueError(f"{figure}: cannot be read ({error.strerror}); expected a PNG.") from error
    told = "Paired differences to the undistilled student, by data set and regime"
    return f'<div class="wide"><img alt="{told}" src="data:image/png;base64,{data}"></div>'
