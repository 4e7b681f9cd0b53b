"""The report as Markdown."""

import re
from collections.abc import Iterable

from pkdot.comparison.report.document import Document, Section
from pkdot.comparison.report.tables import Table

_MARKUP = re.compile(
    r"""
      (?P<list> ^\d{1,9}[.)](?=\ ) )
    | (?P<letters> [\\`] | ^\#+ | \#+$ | ^> | ^[-+](?=\ ) | ^\[ | \](?=[(\[]) )
    | (?P<emphasis> \*+ | _+ )
    | (?P<entity> &(?=\#?\w+;) | <(?=[A-Za-z/!?]) | [$~] )
    """,
    re.VERBOSE,
)
"""Characters that Markdown, or HTML and mathematics inside it, would interpret."""


def markdown(report: Document, *, figure: str | None = None) -> str:
    """A report as Markdown text.

    Args:
        report: what to print.
        figure: path of a picture to show, relative to the text.

    >>> print(markdown(Document("Methods", "pkdot-compare", [Section("Notes", ("None.",))])))
    # Methods
    <BLANKLINE>
    ```
    pkdot-compare
    ```
    <BLANKLINE>
    ## Notes
    <BLANKLINE>
    None.
    <BLANKLINE>
    """
    # A fence that is longer than any in the command cannot be closed by the command.
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", report.command)), default=0))
    parts = [f"# {literal(report.title)}", f"{fence}\n{report.command}\n{fence}"]
    parts += [f"![Differences to the undistilled student]({figure})"] if figure else []
    parts += [section_text(section) for section in report.sections]
    return "\n\n".join(parts) + "\n"


def section_text(section: Section) -> str:
    """A heading of level 2, and what stands below it.

    >>> print(section_text(Section("In short", ("kd helps.",), ("on digits",))))
    ## In short
    <BLANKLINE>
    kd helps.
    <BLANKLINE>
    - on digits
    """
    parts = [f"## {literal(section.heading)}", *map(literal, section.paragraphs)]
    parts += ["\n".join(f"- {literal(bullet)}" for bullet in section.bullets)] if section.bullets else []
    parts += [table_text(section.table)] if section.table is not None else []
    return "\n\n".join(parts)


def table_text(table: Table) -> str:
    """A table with columns of figures aligned to the right, and the names of groups in bold.

    >>> from pkdot.comparison.report.tables import TableCell
    >>> print(table_text(Table(("entry", "mean rank"), (("", ((TableCell("kd"), TableCell("1.00")),)),))))
    | entry | mean rank |
    | --- | ---: |
    | kd | 1.00 |
    """
    width = len(table.header)
    lines = [_row(map(_cell, table.header)), _row("---" if words else "---:" for words in table.worded)]
    for name, rows in table.groups:
        lines += [_row([f"**{name}**", *[""] * (width - 1)])] if name else []
        lines += [_row(_cell(cell.text) for cell in row) for row in rows]
    return "\n".join(lines)


def literal(text: str) -> str:
    r"""A text on one line, escaped so that Markdown shows it as it is: a data set may be called ``*<b>[x](y)``.

    >>> print(literal("*all* labels, <b>"))
    \*all\* labels, &#60;b>
    """
    return _MARKUP.sub(_escaped, " ".join(text.split()))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return literal(text).replace("|", r"\|")


def _escaped(found: re.Match[str]) -> str:
    markup, text = found[0], found.string
    if found["list"]:
        return f"{markup[:-1]}\\{markup[-1]}"
    if found["entity"]:
        return f"&#{ord(markup)};"
    if found["emphasis"]:
        before, after = text[: found.start()][-1:], text[found.end() :][:1]
        # Markdown leaves a star between spaces alone, and an underscore inside a word.
        alone = not before.strip() and not after.strip()
        if alone or (markup[0] == "_" and before.isalnum() and after.isalnum()):
            return markup
    return "".join(f"\\{letter}" for letter in markup)
