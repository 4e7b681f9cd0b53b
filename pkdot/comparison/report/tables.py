"""The tables of a report, as rows of cells that Markdown and HTML print alike."""

from dataclasses import dataclass

from pkdot.comparison.report.analysis import Analysis, BlockResult, Line
from pkdot.comparison.report.formats import NOTHING, difference, gap, level, p_value, points
from pkdot.comparison.report.scores import NONE, OT, TEACHER

STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True)
class TableCell:
    """A text, and the tone of the verdict that colours it: "helps", "harms", "no difference" or none.

    >>> TableCell("+1.23 **", "helps").text
    '+1.23 **'
    """

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A header, and rows of cells in named groups. A group with an empty name has no heading row.

    >>> table = Table(("entry", "mean rank"), (("", ((TableCell("kd"), TableCell("1.00")),)),))
    >>> table.worded
    [True, False]
    """

    header: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[TableCell, ...], ...]], ...]

    @property
    def worded(self) -> list[bool]:
        """Which columns hold words; the others hold figures."""
        return [name in ("entry", "method", "data set", "verdict") for name in self.header]


def block_table(block: BlockResult) -> Table:
    """One data set in one regime: the controls, then the methods from best to worst.

    >>> from pkdot.comparison.report.analysis import analyse
    >>> from pkdot.comparison.report.scores import Score
    >>> runs = [("none", 0.6), ("kd", 0.7), ("ot", 0.62)]
    >>> scores = [Score("pen", "few", entry, 0, 0, "s", "accuracy", value, 300, 100) for entry, value in runs]
    >>> table = block_table(analyse(scores).blocks[0])
    >>> [row[0].text for _, rows in table.groups for row in rows]
    ['none', 'kd', 'ot']
    """
    header = ["entry", "runs", f"{block.measure}, points", "gap closed", "difference to none", "Holm p"]
    header += ["difference to ot", "Holm p (ot)"] if block.has_ot else []
    header += ["difference to control", "Holm p (control)"] if block.has_control else []
    groups = [("controls", block.controls), ("methods", block.methods)]
    return Table(
        (*header, "verdict"),
        tuple((name, tuple(_row(line, block) for line in lines)) for name, lines in groups if lines),
    )


def summary_table(analysis: Analysis) -> Table:
    """Methods x blocks: differences to the undistilled student in points, with stars for their corrected p.

    >>> from pkdot.comparison.report.analysis import analyse
    >>> from pkdot.comparison.report.scores import Score
    >>> runs = [("none", 0.6), ("kd", 0.7), ("ot", 0.62)]
    >>> scores = [Score("pen", "few", entry, 0, 0, "s", "accuracy", value, 300, 100) for entry, value in runs]
    >>> [[cell.text for cell in row] for _, rows in summary_table(analyse(scores)).groups for row in rows]
    [['kd', '+10.00'], ['ot', '+2.00']]
    """
    header = ("method", *(f"{block.data}, {block.regime}" for block in analysis.blocks))
    rows = [
        (TableCell(method), *(_starred(block.line(method)) for block in analysis.blocks)) for method in analysis.methods
    ]
    return Table(header, (("", tuple(rows)),))


def rank_table(analysis: Analysis) -> Table | None:
    """Mean ranks, best first; None if nothing was ranked.

    >>> rank_table(Analysis((), None)) is None
    True
    """
    if analysis.ranks is None:
        return None
    pairs = zip(analysis.ranks.entries, analysis.ranks.mean_ranks, strict=True)
    rows = tuple((TableCell(entry), TableCell(f"{mean_rank:.2f}")) for entry, mean_rank in pairs)
    return Table(("entry", "mean rank"), (("", rows),))


def _row(line: Line, block: BlockResult) -> tuple[TableCell, ...]:
    reference = line.entry in (TEACHER, NONE)
    cells = [
        TableCell(line.entry),
        TableCell(str(line.level.runs)),
        TableCell(level(line.level)),
        TableCell(NOTHING if reference else gap(line.gap)),
        TableCell(NOTHING if line.entry == NONE else difference(line.to_none), line.tone),
        TableCell(p_value(line.p)),
    ]
    if block.has_ot:
        own = line.entry == OT or not line.verdict
        cells += [TableCell(NOTHING if own else difference(line.to_ot)), TableCell(p_value(line.p_ot))]
    if block.has_control:
        cells += [
            TableCell(difference(line.to_control) if line.verdict else NOTHING),
            TableCell(p_value(line.p_control)),
        ]
    return (*cells, TableCell(line.verdict, line.tone))


def _starred(line: Line | None) -> TableCell:
    if line is None:
        return TableCell(NOTHING)
    stars = next((stars for bound, stars in STARS if line.p < bound), "")
    return TableCell(f"{points(line.to_none.mean)} {stars}".strip(), line.tone)
