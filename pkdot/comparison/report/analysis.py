"""From scores to the figures of every line of every table. Nothing is printed or drawn here."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pkdot.comparison.report.inference import Estimate, Gap, gap_closed, holm, resampled_mean, verdict
from pkdot.comparison.report.ranks import Ranks, rank
from pkdot.comparison.report.scores import CONTROLS, NONE, OT, PREVALENT_TEACHER, TEACHER, Block, Score, blocks


@dataclass(frozen=True)
class Line:
    """The figures of one entry in one block.

    >>> runs = [("none", 0.6), ("kd", 0.7), ("ot", 0.62)]
    >>> scores = [Score("pen", "few", entry, 0, 0, "s", "accuracy", value, 300, 100) for entry, value in runs]
    >>> (block,) = analyse(scores).blocks
    >>> round(block.line("kd").to_none.mean, 2), block.line("kd").verdict
    (0.1, 'too few splits')

    Attributes:
        entry: its name.
        missing: the number of runs that it lacks.
        level: its mean score.
        gap: the share of the teacher's lead that it closes; None if the teacher is not ahead.
        to_none: paired difference to the undistilled student.
        p: of that difference after Holm's correction over the block's methods; NaN for a control.
        to_ot: paired difference to ot; without any run if ot was not compared.
        p_ot: of that difference after Holm's correction over the block's other methods.
        to_control: paired difference to distillation from a teacher without the privileged modalities.
        p_control: of that difference after Holm's correction over the block's methods.
        verdict: from ``inference.verdict``; empty for a control.
    """

    entry: str
    missing: int
    level: Estimate
    gap: Gap | None
    to_none: Estimate
    to_ot: Estimate
    to_control: Estimate
    p: float = math.nan
    p_ot: float = math.nan
    p_control: float = math.nan
    verdict: str = ""

    @property
    def tone(self) -> str:
        """The verdict in a word: "helps", "harms", "no difference", or empty for a control and for too few splits."""
        return next((word for word in ("helps", "harms", "no difference") if self.verdict.startswith(word)), "")


@dataclass(frozen=True)
class BlockResult:
    """The figures of one data set in one regime: controls in their fixed order, methods from best to worst.

    >>> runs = [("none", 0.6), ("kd", 0.7), ("ot", 0.62)]
    >>> scores = [Score("pen", "few", entry, 0, 0, "s", "accuracy", value, 300, 100) for entry, value in runs]
    >>> (block,) = analyse(scores).blocks
    >>> [line.entry for line in block.methods], block.measure, block.has_control
    (['kd', 'ot'], 'accuracy', False)

    Attributes:
        runs: the runs of each entry, if none is missing.
        unscored: the runs for which no entry has a score.
        folds: the number of folds that were pooled; 0 if each run is scored alone.
    """

    data: str
    regime: str
    metric: str
    runs: int
    unscored: int
    folds: int
    controls: tuple[Line, ...]
    methods: tuple[Line, ...]

    @property
    def measure(self) -> str:
        """The metric, and whether the folds were pooled for it."""
        return f"{self.metric} of pooled folds" if self.folds else self.metric

    @property
    def has_ot(self) -> bool:
        """Whether ot is among the methods, with others to compare with it."""
        return any(line.entry == OT for line in self.methods) and len(self.methods) > 1

    @property
    def has_control(self) -> bool:
        """Whether the control without the privileged modalities is there, and methods to compare with it."""
        return self.line(PREVALENT_TEACHER) is not None and bool(self.methods)

    @property
    def missing(self) -> dict[str, int]:
        """The number of missing runs of each entry that lacks any."""
        return {line.entry: line.missing for line in (*self.controls, *self.methods) if line.missing}

    def line(self, entry: str) -> Line | None:
        """The line of an entry; None if it was not run here."""
        return next((line for line in (*self.controls, *self.methods) if line.entry == entry), None)


@dataclass(frozen=True)
class Analysis:
    """Everything that a report tells.

    >>> runs = [("none", 0.6), ("kd", 0.7), ("ot", 0.62)]
    >>> scores = [Score("pen", "few", entry, 0, 0, "s", "accuracy", value, 300, 100) for entry, value in runs]
    >>> analyse(scores).methods, analyse(scores).ranks
    (['kd', 'ot'], None)
    """

    blocks: tuple[BlockResult, ...]
    ranks: Ranks | None

    @property
    def methods(self) -> list[str]:
        """From best to worst by the mean difference to the undistilled student over blocks; ties keep their order."""
        found: dict[str, list[float]] = {}
        for block in self.blocks:
            for line in block.methods:
                found.setdefault(line.entry, []).append(line.to_none.mean)
        means = {entry: _mean(values) for entry, values in found.items()}
        return sorted(means, key=lambda entry: _descending(means[entry]))


def analyse(scores: Iterable[Score]) -> Analysis:
    """Compare every entry with the undistilled student and with ot in each block, and rank methods over blocks.

    >>> runs = [("none", 0.6), ("kd", 0.7), ("ot", 0.62)]
    >>> scores = [Score("pen", "few", entry, 0, 0, "s", "accuracy", value, 300, 100) for entry, value in runs]
    >>> [(line.entry, round(line.to_none.mean, 2)) for line in analyse(scores).blocks[0].methods]
    [('kd', 0.1), ('ot', 0.02)]

    Raises:
        ValueError: as ``scores.blocks`` does.
    """
    found = blocks(scores)
    return Analysis(tuple(_compared(block) for block in found), rank(found))


def _compared(block: Block) -> BlockResult:
    lines = {entry: _line(block, entry) for entry in block.entries}
    methods = _judged([lines[entry] for entry in block.methods])
    return BlockResult(
        data=block.data,
        regime=block.regime,
        metric=block.metric,
        runs=len(block.keys),
        unscored=block.unscored,
        folds=len({fold for fold, _ in block.keys}) if block.pooled else 0,
        controls=tuple(lines[entry] for entry in CONTROLS if entry in lines),
        methods=tuple(sorted(methods, key=lambda line: _descending(line.to_none.mean))),
    )


def _line(block: Block, entry: str) -> Line:
    own = block.paired(entry)
    shared = block.paired(entry, NONE, TEACHER)
    method, none, teacher = shared.values
    return Line(
        entry=entry,
        missing=block.missing(entry),
        level=resampled_mean(own.values[0], own.ratio, own.splits),
        gap=gap_closed(method - none, teacher - none, shared.ratio, shared.splits),
        to_none=_difference(block, entry, NONE),
        to_ot=_difference(block, entry, OT),
        to_control=_difference(block, entry, PREVALENT_TEACHER),
    )


def _difference(block: Block, entry: str, other: str) -> Estimate:
    pairs = block.paired(entry, other)
    return resampled_mean(pairs.differences, pairs.ratio, pairs.splits)


def _judged(lines: Sequence[Line]) -> list[Line]:
    """Correct p values in three families: all methods against none, all others against ot, all against the control."""
    to_none = holm([line.to_none.p for line in lines])
    to_ot = holm([math.nan if line.entry == OT else line.to_ot.p for line in lines])
    to_control = holm([line.to_control.p for line in lines])
    return [
        replace(line, p=p, p_ot=p_ot, p_control=p_control, verdict=verdict(line.to_none, p))
        for line, p, p_ot, p_control in zip(lines, to_none, to_ot, to_control, strict=True)
    ]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _descending(value: float) -> float:
    return math.inf if math.isnan(value) else -value
