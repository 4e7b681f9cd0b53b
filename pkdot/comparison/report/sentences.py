"""What the figures say, in sentences made from the verdicts."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

from pkdot.comparison.report.analysis import Analysis, BlockResult, Line
from pkdot.comparison.report.formats import difference, p_value
from pkdot.comparison.report.inference import LEVEL, MARGIN
from pkdot.comparison.report.ranks import MIN_BLOCKS, MIN_METHODS, Ranks
from pkdot.comparison.report.scores import ALL_LABELS, PREVALENT_TEACHER, SELF_TRAINING, TEACHER

_MARGIN = f"{100 * MARGIN:g} point"

HOW = (
    "Differences are paired: the score of a method's run minus the score of the undistilled student's run (none) with "
    "the same data set, regime, fold and seed. A pair with a missing run is left out.",
    "Test: the corrected resampled t-test (Nadeau and Bengio 2003), two-sided at 5 %, over J splits with standard "
    "error sqrt((1/J + n_test/n_train) s²). The splits share training and test samples, so their scores are "
    "correlated; the usual paired t-test treats them as independent and mistakes chance for an effect. Seeds on the "
    "same fold are averaged first. ± and brackets are 95 % intervals from the same standard error, without Holm's "
    "correction.",
    "Holm p: corrected over one family, all methods against none within one data set and regime. Holm p (ot): over a "
    "second family, all other methods against ot. Holm p (control): over a third family, all methods against kd from "
    "prevalent teacher; a method that is ahead of this control gains from the privileged modalities. Controls belong "
    "to no family.",
    "Verdict: helps or harms if the Holm p is below 0.05, otherwise no difference shown, which does not prove that "
    f"there is none. Non-inferior: the one-sided 95 % bound of the loss, not corrected, is less than {_MARGIN}.",
    "Gap closed: mean(method - none) / mean(teacher - none), with Fieller's interval from the same standard error. "
    "[open]: the interval has no two ends, because the teacher's lead itself is not shown. –: the teacher is not "
    "ahead, or there is nothing to compare.",
)
"""How runs were compared, for every report."""

POOLED = (
    "Pooled folds: some folds are too small to be scored alone (one sample; for ccc and qwk also fewer than 10, or the "
    "same target in all of them). Then the predictions of all folds are scored together, once for each entry and seed "
    "(Forman and Scholz 2010). The test still works on folds: the jackknife (Efron and Tibshirani 1993) leaves each "
    "fold out of the pool in turn and so divides the pooled score, or a difference of two, among the folds. The mean "
    "of these shares is the pooled score, and their variance gives the jackknife's variance of it. They are tested "
    "like scores of folds. A seed of an entry that lacks a fold is missing."
)
"""How pooled folds were compared, for reports that have any."""


def overview(analysis: Analysis) -> list[str]:
    """How many comparisons help, harm or show no difference: in all, then in each regime if there are several.

    >>> from pkdot.comparison.report.analysis import analyse
    >>> from pkdot.comparison.report.scores import Score
    >>> runs = [("none", 0.6), ("kd", 0.7)]
    >>> scores = [Score("pen", "few", entry, 0, 0, "s", "accuracy", value, 300, 100) for entry, value in runs]
    >>> overview(analyse(scores))
    ['Each method against the undistilled student: of 1 comparisons 0 help, ...; 1 have too few splits.']
    """
    regimes = dict.fromkeys(block.regime for block in analysis.blocks)
    told = [f"Each method against the undistilled student: {_count(analysis.blocks)}"]
    if len(regimes) > 1:
        told += [
            f"{regime}: {_count([block for block in analysis.blocks if block.regime == regime])}" for regime in regimes
        ]
    return told


def method_sentences(analysis: Analysis) -> list[str]:
    """Where each method helps, harms or shows no difference, from the best method to the worst.

    >>> from pkdot.comparison.report.analysis import analyse
    >>> from pkdot.comparison.report.scores import Score
    >>> runs = [("none", 0.6), ("kd", 0.7)]
    >>> scores = [Score("pen", "few", entry, 0, 0, "s", "accuracy", value, 300, 100) for entry, value in runs]
    >>> method_sentences(analyse(scores))
    ['kd: has too few splits on pen (few).']
    """
    return [_about(method, analysis.blocks) for method in analysis.methods]


def block_sentences(block: BlockResult) -> list[str]:
    """The runs of a block, what is missing, which effects are too small to be seen, and the controls.

    >>> from pkdot.comparison.report.analysis import analyse
    >>> from pkdot.comparison.report.scores import Score
    >>> runs = [("none", 0.6), ("kd", 0.7)]
    >>> scores = [Score("pen", "few", entry, 0, 0, "s", "accuracy", value, 300, 100) for entry, value in runs]
    >>> block_sentences(analyse(scores).blocks[0])
    ['Runs of each entry: 1, on 1 split, too few for an interval or a test; no run is missing.']
    """
    told = [_runs(block)]
    if block.folds:
        told.append(f"The predictions of {block.folds} folds were pooled and scored once for each entry and seed.")
    if block.unscored:
        runs = "run has" if block.unscored == 1 else "runs have"
        told.append(f"{block.unscored} {runs} no score for any entry; the test split may be too small.")
    halves = [line.to_none.high - line.to_none.mean for line in block.methods if not math.isnan(line.to_none.high)]
    if halves:
        told.append(
            f"The intervals of the differences reach ± {100 * median(halves):.1f} points (median over methods): much "
            "smaller effects cannot be seen here."
        )
    told += _controls(block)
    return told


def rank_sentences(analysis: Analysis) -> list[str]:
    """What Friedman's and Nemenyi's tests say of the ranks, or why nothing is ranked.

    >>> rank_sentences(Analysis((), None))
    ['The ranking over data sets is left out: it needs at least 3 methods that took part in the same 2 or more ...']
    """
    ranks = analysis.ranks
    if ranks is None:
        return [
            f"The ranking over data sets is left out: it needs at least {MIN_METHODS} methods that took part in the "
            f"same {MIN_BLOCKS} or more data sets x regimes."
        ]
    told = [
        f"Mean ranks of {len(ranks.entries)} entries (methods and none; 1 = best) over the {len(ranks.blocks)} data "
        f"sets x regimes in which all of them took part: {_places(ranks.blocks)}.",
        _friedman(ranks),
    ]
    if ranks.left_out:
        told.append(f"Not ranked, since they took part in too few of these: {', '.join(ranks.left_out)}.")
    told.append(
        "Both tests assume independent data sets x regimes (Demsar 2006). Regimes of one data set are not independent: "
        "read the ranks as a description."
    )
    return told


def _friedman(ranks: Ranks) -> str:
    test = f"Friedman's test that all are equal: p = {p_value(ranks.p)}.".replace("= <", "< ")
    bound = f"Nemenyi's critical difference at 5 % is {ranks.critical_difference:.2f} ranks"
    if ranks.p >= LEVEL:
        return f"{test} No entry is shown to rank above another. {bound}."
    groups = [" to ".join((ranks.entries[first], ranks.entries[last])) for first, last in ranks.groups]
    same = f"not shown to differ: {'; '.join(groups)}" if groups else "all pairs differ by more"
    return f"{test} {bound}; {same}."


def _count(blocks: Iterable[BlockResult]) -> str:
    lines = [line for block in blocks for line in block.methods]
    tones = [line.tone for line in lines]
    ties = [line.verdict for line in lines if line.tone == "no difference"]
    told = (
        f"of {len(lines)} comparisons {tones.count('helps')} help, {tones.count('harms')} harm and {len(ties)} show no "
        "difference"
    )
    told += f" ({sum('non-inferior' in verdict for verdict in ties)} of these non-inferior)" if ties else ""
    few = tones.count("")
    return told + (f"; {few} have too few splits." if few else ".")


_SAYINGS = {
    "helps": "helps on {}",
    "no difference shown, non-inferior": f"shows no difference, and loses less than {_MARGIN}, on {{}}",
    "no difference shown": "shows no difference on {}",
    "harms, non-inferior": f"harms, by less than {_MARGIN}, on {{}}",
    "harms": "harms on {}",
    "too few splits": "has too few splits on {}",
}


def _about(method: str, blocks: Sequence[BlockResult]) -> str:
    places: dict[str, list[tuple[str, str]]] = {}
    for block in blocks:
        line = block.line(method)
        if line is not None:
            places.setdefault(line.verdict, []).append((block.data, block.regime))
    parts = [saying.format(_places(places[said])) for said, saying in _SAYINGS.items() if said in places]
    return f"{method}: {'; '.join(parts)}."


def _places(blocks: Iterable[tuple[str, str]]) -> str:
    """Such as "satimage (few labels, label noise), soil (few labels)"."""
    regimes: dict[str, list[str]] = {}
    for data, regime in blocks:
        regimes.setdefault(data, []).append(regime)
    return ", ".join(f"{data} ({', '.join(own)})" for data, own in regimes.items())


def _runs(block: BlockResult) -> str:
    splits = max((line.level.splits for line in (*block.controls, *block.methods)), default=0)
    missing = block.missing
    told = f"Runs of each entry: {block.runs}, on {splits} split{'s' * (splits != 1)}"
    if splits < 2:
        told += ", too few for an interval or a test"
        if block.runs > 1:
            told += ": all seeds use the same samples, and folds would not"
    if not missing:
        return f"{told}; no run is missing."
    names = ", ".join(f"{entry} {count}" for entry, count in missing.items())
    return f"{told}; missing: {names}."


def _controls(block: BlockResult) -> list[str]:
    told = []
    teacher = block.line(TEACHER)
    if teacher is not None and teacher.to_none.runs:
        ahead = teacher.to_none.mean > 0
        lead = difference(teacher.to_none)
        told.append(
            f"The teacher leads the undistilled student by {lead} points."
            if ahead
            else f"The teacher does not lead the undistilled student ({lead} points): there is no gap to close."
        )
    without = [_gain(block.line(entry)) for entry in (SELF_TRAINING, PREVALENT_TEACHER)]
    known = [gain for gain in without if gain]
    if known:
        told.append(f"Without any privileged modality: {', '.join(known)} points.")
    ceiling = block.line(ALL_LABELS)
    if ceiling is not None and ceiling.to_none.runs:
        told.append(f"All labels give the undistilled student {difference(ceiling.to_none)} points.")
    return told


def _gain(line: Line | None) -> str:
    return "" if line is None or not line.to_none.runs else f"{line.entry} {difference(line.to_none)}"
