"""A report as sections of text and tables, before it is printed as Markdown or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

from pkdot.comparison.report.analysis import Analysis, BlockResult
from pkdot.comparison.report.sentences import HOW, POOLED, block_sentences, method_sentences, overview, rank_sentences
from pkdot.comparison.report.tables import Table, block_table, rank_table, summary_table

_STARS = (
    "Difference to the undistilled student in points; * p < 0.05, ** p < 0.01, *** p < 0.001 after Holm's correction "
    "within the column."
)


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it in this order.

    >>> Section("Notes", bullets=("12 of 12 runs are finished.",)).heading
    'Notes'
    """

    heading: str
    paragraphs: Sequence[str] = ()
    bullets: Sequence[str] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Document:
    """A whole report.

    >>> Document("Methods compared", "pkdot-compare --seeds 5", [Section("In short")]).title
    'Methods compared'

    Attributes:
        title: the first heading.
        command: the command that made the report, printed as it is.
        sections: in the order in which they are printed.
    """

    title: str
    command: str
    sections: Sequence[Section]


def document(analysis: Analysis, *, title: str, command: str, notes: Sequence[str] = ()) -> Document:
    """The report of an analysis; ``notes`` are sentences for its end.

    >>> from pkdot.comparison.report.analysis import analyse
    >>> from pkdot.comparison.report.scores import Score
    >>> runs = [("none", 0.6), ("kd", 0.7), ("ot", 0.62)]
    >>> scores = [Score("pen", "few", entry, 0, 0, "s", "accuracy", value, 300, 100) for entry, value in runs]
    >>> report = document(analyse(scores), title="Methods", command="pkdot-compare")
    >>> [section.heading for section in report.sections][:2]
    ['In short', 'Method by method']
    """
    how = (*HOW, POOLED) if any(block.folds for block in analysis.blocks) else HOW
    sections = [
        _in_short(analysis),
        *_by_method(analysis),
        *(_block(block) for block in analysis.blocks),
        Section("How it was compared", how),
        *([Section("Notes", bullets=notes)] if notes else []),
    ]
    return Document(title, command, sections)


def _in_short(analysis: Analysis) -> Section:
    everything, *regimes = overview(analysis)
    return Section("In short", (everything,), regimes)


def _by_method(analysis: Analysis) -> list[Section]:
    if not analysis.methods:
        return []
    return [
        Section("Method by method", bullets=method_sentences(analysis)),
        Section("Methods over data sets and regimes", (_STARS,), table=summary_table(analysis)),
        Section("Ranks over data sets", rank_sentences(analysis), table=rank_table(analysis)),
    ]


def _block(block: BlockResult) -> Section:
    return Section(f"{block.data}, {block.regime}", (" ".join(block_sentences(block)),), table=block_table(block))
