"""The pages of the project's own comparison: a short one, and one for each part beneath it."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pkdot.comparison.report.analysis import Analysis, BlockResult, Line
from pkdot.comparison.report.formats import NOTHING, difference, gap, p_value, points
from pkdot.comparison.report.inference import holm
from pkdot.comparison.report.markdown import literal, table_text
from pkdot.comparison.report.scores import NONE, TEACHER
from pkdot.comparison.report.tables import Table, TableCell, summary_table

TITLE = "Distillation methods compared"
COMMAND = "python -m benchmarks.methods --work methods"
HISTORY = "history"
"""The chapter of the conclusions that tells how the experiments came about: a page of its own."""
NAMES = (
    "Data sets, with what is prevalent / privileged: `satimage` kinds of ground in satellite images (one band / three "
    "more), `soil` dampness of the ground in them (the same), `digits` handwritten digits (upper / lower half), `pen` "
    "digits on a tablet (first / second half of the stroke), `watch` shoulder exercises (accelerometer / gyroscope), "
    "`diabetes` progress of the disease (simple measurements / blood values), `biovid` synthetic pain (video / "
    "physiology), `affwild2` synthetic affect (video / sound). `ot` is `OTDistillLoss` with its defaults, `released "
    "ot` the published setting of PKDOT; the other methods are those of `--method`."
)
POINTS = (
    "Differences to the undistilled student in points (100 times accuracy, kappa or concordance); * p < 0.05, "
    "** p < 0.01, *** p < 0.001 after Holm's correction within the column."
)
RECIPE = (
    "The recommended recipe with its defaults, untuned, on runs that had no part in choosing it. Points, and 95 % "
    "intervals; p values by the corrected resampled t-test, after Holm's correction over the data sets of a regime. "
    "Control: the same distillation from a teacher without the privileged modalities. Non-inferior: the one-sided 95 % "
    "bound of the loss is less than 1 point."
)


@dataclass(frozen=True)
class Part:
    """One grid of the comparison.

    Attributes:
        title: the heading of its page.
        flags: of pkdot-compare: how often it is repeated.
        shown: whether its methods are in the tables of the short page.
    """

    title: str
    flags: tuple[str, ...]
    shown: bool = False


def chapters(conclusions: str) -> dict[str, str]:
    """The conclusions by chapter: the short ones have the name "", those of a part the part's name."""
    first, *others = re.split(r"^## (\w+)$", conclusions, flags=re.MULTILINE)
    return {"": first.strip()} | {name: text.strip() for name, text in zip(others[::2], others[1::2], strict=True)}


def part_page(name: str, part: Part, conclusions: str, report: str) -> str:
    """The page of a part: what it shows, and the report of its runs with the figure."""
    pieces = [
        f"# {part.title}",
        f"`benchmarks/grids/{name}.toml`, {shlex.join(part.flags)}; one part of [{TITLE}](../methods.md).",
        *(["## What it shows", conclusions] if conclusions else []),
        *([f"![Differences to the undistilled student](../{name}.png)"] if "](report.png)" in report else []),
        report[report.index("\n## ") :].strip(),
    ]
    return "\n\n".join(pieces) + "\n"


def short_page(conclusions: Mapping[str, str], parts: Mapping[str, Part], analyses: Mapping[str, Analysis]) -> str:
    """The short page: the recipe's table, the conclusions, a table for each regime, the picture, and all parts."""
    shown = [block for name, found in analyses.items() if parts[name].shown for block in found.blocks]
    pieces = [f"# {TITLE}", f"```\n{COMMAND}\n```", NAMES]
    if "recipe" in analyses:
        pieces += ["## The recommended recipe", RECIPE, table_text(recipe_table(analyses["recipe"]))]
    pieces += ["## Conclusions", conclusions[""]]
    pieces += ["## Methods beside each other", POINTS] if shown else []
    for regime in dict.fromkeys(block.regime for block in shown):
        own = [block for block in shown if block.regime == regime]
        pieces += [f"### {literal(regime).capitalize()}", table_text(regime_table(own))]
    if "rivals" in analyses:
        pieces.append("![Differences to the undistilled student](rivals.png)")
    pages = [f"- [{parts[name].title}](methods/{name}.md)" for name in analyses]
    pages += [f"- [How the experiments came about](methods/{HISTORY}.md)"] if HISTORY in conclusions else []
    return "\n\n".join([*pieces, "## All figures, part by part", "\n".join(pages)]) + "\n"


def history_page(conclusions: str) -> str:
    """How the experiments came about."""
    return f"# How the experiments came about\n\nA page of [{TITLE}](../methods.md).\n\n{conclusions}\n"


def regime_table(blocks: Sequence[BlockResult]) -> Table:
    """Entries x data sets of one regime: the controls, then the methods from best to worst."""
    header = ("method", *(block.data for block in blocks))
    controls = dict.fromkeys(line.entry for block in blocks for line in block.controls if line.entry != NONE)
    rows = tuple((TableCell(entry), *(TableCell(_lead(block.line(entry))) for block in blocks)) for entry in controls)
    ((_, methods),) = summary_table(Analysis(tuple(blocks), None)).groups
    return Table(header, (("controls", rows), ("methods", methods)))


def recipe_table(analysis: Analysis) -> Table:
    """What the recipe gave: a group for each regime, a line for each data set.

    P values are corrected over the data sets of a regime.
    """
    header = ("data set", "method", "runs", "undistilled", "distilled", "teacher", "difference", "Holm p", "gap closed")
    header += ("difference to control", "Holm p (control)", "non-inferior")
    groups = []
    for regime in dict.fromkeys(block.regime for block in analysis.blocks):
        own = [(block, line) for block in analysis.blocks if block.regime == regime for line in block.methods]
        to_none = holm([line.to_none.p for _, line in own])
        to_control = holm([line.to_control.p for _, line in own])
        rows = zip(own, to_none, to_control, strict=True)
        groups.append((regime, tuple(_recipe_row(block, line, p, p_control) for (block, line), p, p_control in rows)))
    return Table(header, tuple(groups))


def _recipe_row(block: BlockResult, line: Line, p: float, p_control: float) -> tuple[TableCell, ...]:
    levels = [block.line(NONE), line, block.line(TEACHER)]
    texts = [
        block.data,
        line.entry,
        str(line.to_none.runs),
        *(f"{100 * entry.level.mean:.1f}" if entry else NOTHING for entry in levels),
        difference(line.to_none),
        p_value(p),
        gap(line.gap),
        difference(line.to_control),
        p_value(p_control),
        "yes" if line.to_none.non_inferior else "not shown",
    ]
    return tuple(map(TableCell, texts))


def _lead(line: Line | None) -> str:
    return points(line.to_none.mean) if line else NOTHING
