"""What the figures say, in sentences that are made from the verdicts."""

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
    "Differences are paired: a method's run minus the run of the undistilled student (none) with the same data set, "
    "regime, fold and seed. Pairs of which one side is missing are left out.",
    "Test: the corrected resampled t-test (Nadeau and Bengio 2003), two-sided at 5 %, over J splits with standard "
    "error sqrt((1/J + n_test/n_train) s²). Splits share training and test samples, so that their scores are "
    "correlated; the usual paired t-test takes them for independent and calls chance an effect. Seeds on the same "
    "fold are averaged first. ± and brackets are 95 % intervals by the same standard error, without Holm's correction.",
    "Holm p: corrected over one family, all methods against none within one data set and regime. Holm p (ot): over a "
    "second family, all other methods against ot there. Holm p (control): over a third, all methods against kd from "
    "prevalent teacher; what is ahead of that control owes it to the privileged modalities. Controls are in none.",
    "Verdict: helps or harms where the Holm p is below 0.05, else no difference shown, which is no proof that there is "
    f"none. Non-inferior: the one-sided 95 % bound of the loss, not corrected, is less than {_MARGIN}.",
    "Gap closed: mean(method - none) / mean(teacher - none) with Fieller's interval by the same standard error. "
    "[open]: the interval has no two ends, because the teacher's lead itself is not shown. –: the teacher is not "
    "ahead, or there is nothing to compare.",
)

POOLED = (
    "Pooled folds: where one fold is too small to be scored on its own (one sample; for ccc and qwk also fewer than "
    "10, or the same target in all of them), the predictions of all folds are scored together, once for each entry and "
    "seed (Forman and Scholz 2010). The test then works on the folds: the jackknife (Efron and Tibshirani 1993) leaves "
    "each of them out of the pool in turn, and so shares out the pooled score, or a difference of two, among them. The "
    "mean of the shares is the pooled score, their variance the jackknife's, and they are tested as scores of folds "
    "are. An entry's seed that lacks a fold is missing."
)


def overview(analysis: Analysis) -> list[str]:
    """How many comparisons help, harm or tie: in all, then in each regime where there are several."""
    regimes = dict.fromkeys(block.regime for block in analysis.blocks)
    told = [f"Each method against the undistilled student: {_count(analysis.blocks)}"]
    if len(regimes) > 1:
        told += [
            f"{regime}: {_count([block for block in analysis.blocks if block.regime == regime])}" for regime in regimes
        ]
    return told


def method_sentences(analysis: Analysis) -> list[str]:
    """Where each method helps, ties or harms, from best to worst."""
    return [_about(method, analysis.blocks) for method in analysis.methods]


def block_sentences(block: BlockResult) -> list[str]:
    """Runs, what is missing, how small an effect could have been seen, and what the controls say."""
    told = [_runs(block)]
    if block.folds:
        told.append(f"The predictions of {block.folds} folds were pooled and scored once for each entry and seed.")
    if block.unscored:
        told.append(f"Of {block.unscored} of these nobody has a score; their test splits may be too small for one.")
    halves = [line.to_none.high - line.to_none.mean for line in block.methods if not math.isnan(line.to_none.high)]
    if halves:
        told.append(
            f"The intervals of the differences reach ± {100 * median(halves):.1f} points (median over methods): much "
            "smaller effects cannot be seen here."
        )
    told += _controls(block)
    return told


def rank_sentences(analysis: Analysis) -> list[str]:
    """Friedman's and Nemenyi's answer, or why there is none."""
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
        "Both tests take the data sets x regimes for independent (Demsar 2006). Regimes of one data set are not: read "
        "this as a description."
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
            told += ": every seed met the same samples, which folds would not"
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
