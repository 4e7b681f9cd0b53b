"""Folds that are too small to be scored one by one: their predictions are pooled over the folds and scored once.

Where one subject with one sample is left out at a time, no fold has a concordance or a kappa of its own, and its
accuracy is 0 or 1. Such folds are pooled, as is usual (Forman and Scholz 2010): each entry and seed has one score, of
the predictions of all folds together. A single score has no spread to test, and seeds are no new data. What is left
to test are the folds: the jackknife leaves each of them out of the pool in turn (Quenouille 1956; Tukey 1958; Efron
and Tibshirani 1993, chapter 11), and fold j of J is given the value

    t + (J - 1) (mean_i t_(i) - t_(j)),    t: score of the pool, t_(j): score of the pool without fold j.

The mean of these values is the pooled score, and their variance over J is the jackknife's variance of it. So whatever
this room does with scores of folds, it does with these: the paired, corrected t-test, its intervals, Fieller's, ranks.
Where a score is a mean over samples, as accuracy is, and the folds have a sample each, the values are the samples' own
and the test is the usual one. Models that each learn from all but one sample are pulled away from that sample's
target, so that a pooled CCC lies a little too low; it does for all entries, whose differences are what is tested.

Between two equal entries whose errors are independent, on 6 to 40 folds of one sample, the t-test of these values at
5 % rejected 2.5 to 6 % of the time (CCC, kappa and accuracy). With the correction for training samples that the folds
share, which is applied here as everywhere, it was 0.3 to 1.3 %: it errs on the safe side.
"""

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pkdot.comparison.report.scores import Score
from pkdot.metrics import accuracy, concordance, quadratic_weighted_kappa, unscorable

log = logging.getLogger(__name__)

Array = NDArray[Any]

FEWEST = {"accuracy": 2, "qwk": 10, "ccc": 10}
"""Labelled samples that a fold needs, to be scored on its own by a metric."""


@dataclass(frozen=True)
class Answers:
    """What a run answered on the labelled samples of its test split.

    Attributes:
        target, prediction: ``(n, R)`` values, or ``(n, 1)`` numbers of classes.
        classes: how many there are; 0 for a regression.
    """

    target: Array
    prediction: Array
    classes: int


def pooled_where_too_small(runs: Sequence[tuple[Score, Path]]) -> list[Score]:
    """The scores of runs, with those of folds that are too small to be scored one by one taken from their pool.

    A fold is too small where its metric cannot be computed there, or has fewer samples than ``FEWEST``. One such fold
    is enough: all folds of its data set and regime are pooled, those of each entry and seed apart, and a score's value
    is then what its fold contributes (see above). An entry's seed that lacks a fold has no score: NaN, a missing run.
    Without folds there is nothing to pool: a test split on which the metric cannot be computed has no score, and a
    warning says so.

    Args:
        runs: what each run scored on its own test split, and its ``predictions.csv``.

    Raises:
        ValueError: predictions to pool cannot be read, or the metric cannot be computed on the pool either, or on none
            of several test splits.
    """
    blocks: dict[tuple[str, str], list[int]] = {}
    for place, (score, _) in enumerate(runs):
        blocks.setdefault((score.data, score.regime), []).append(place)
    found = [score for score, _ in runs]
    targets: dict[tuple[str, str], Array] = {}
    for places in blocks.values():
        own = [runs[place] for place in places]
        _look_at(own, targets)
        pooled = _together if len({score.fold for score, _ in own}) > 1 else _apart
        for place, score in zip(places, pooled(own, targets), strict=True):
            found[place] = score
    return found


def contributions(folds: Sequence[Answers], metric: str) -> Array:
    """``(J,)``: the pooled score of J folds, shared out among them by the jackknife."""
    whole = _score(folds, metric)
    without = np.array([_score([*folds[:place], *folds[place + 1 :]], metric) for place in range(len(folds))])
    values: Array = whole + (len(folds) - 1) * (without.mean() - without)
    return values


def read_answers(path: Path) -> Answers:
    """The labelled samples of a ``predictions.csv``. Raises ``ValueError`` for a file that is none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        count, classes = _columns(header[2:])
        known = [row[2 : 2 + 2 * count] for row in rows if row[2]]
        values = np.array([[classes[cell] if classes else float(cell) for cell in row] for row in known], dtype=float)
        target, prediction = values.reshape(len(known), 2, count).swapaxes(0, 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}), and its fold is too small without it.") from error
    except (LookupError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: not the predictions of a run ({error!r}).") from error
    return Answers(target, prediction, len(classes))


def _columns(names: Sequence[str]) -> tuple[int, dict[str, int]]:
    """How many targets there are, and the number of each class, from the header without id and subject."""
    for count in range(1, len(names) // 2 + 1):
        targets, answers, chances = names[:count], names[count : 2 * count], names[2 * count :]
        same = list(answers) == [f"predicted_{name}" for name in targets]
        if same and all(name.startswith("p_") for name in chances):
            return count, {name.removeprefix("p_"): number for number, name in enumerate(chances)}
    raise LookupError(f"columns {', '.join(names)}")


def _score(folds: Sequence[Answers], metric: str) -> float:
    target, answer = (np.concatenate(parts) for parts in zip(*((f.target, f.prediction) for f in folds), strict=True))
    if metric == "ccc":
        return float(concordance(answer, target).mean())
    if metric == "qwk":
        return quadratic_weighted_kappa(answer[:, 0], target[:, 0], folds[0].classes)
    return accuracy(answer[:, 0], target[:, 0])


def _look_at(runs: Sequence[tuple[Score, Path]], targets: dict[tuple[str, str], Array]) -> None:
    """Add the targets of each test split, from the first run that has them: they are the same for all."""
    for score, path in runs:
        if (score.data, score.split) not in targets and path.is_file():
            targets[score.data, score.split] = read_answers(path).target


def _why_unscorable(score: Score, targets: Mapping[tuple[str, str], Array]) -> str:
    target = targets.get((score.data, score.split))
    return "" if target is None else unscorable(score.metric, target)


def _apart(runs: Sequence[tuple[Score, Path]], targets: Mapping[tuple[str, str], Array]) -> list[Score]:
    """Scores without folds: NaN where the metric cannot be computed on the test split."""
    scores = [score for score, _ in runs]
    reasons = {score.seed: reason for score in scores if (reason := _why_unscorable(score, targets))}
    if reasons:
        count = len({score.seed for score in scores})
        seed, reason = next(iter(reasons.items()))
        first = scores[0]
        told = (
            f"{first.data}, {first.regime}: {first.metric} cannot be computed on {len(reasons)} of {count} test splits "
            f"(seed {seed}: {reason})"
        )
        if len(reasons) == count:
            raise ValueError(f"{told}; expected a larger --data.test, or folds, which are pooled.")
        log.warning("%s; they are left out.", told)
    return [replace(score, value=math.nan) if score.seed in reasons else score for score in scores]


def _together(runs: Sequence[tuple[Score, Path]], targets: Mapping[tuple[str, str], Array]) -> list[Score]:
    """Scores of folds, as they are where all folds are large enough, and else pooled."""
    scores = [score for score, _ in runs]
    if not any(
        score.pooled or score.test_samples < FEWEST.get(score.metric, 1) or _why_unscorable(score, targets)
        for score in scores
    ):
        return scores
    folds = {score.fold for score in scores}
    pools: dict[tuple[str, int], list[int]] = {}
    for place, score in enumerate(scores):
        pools.setdefault((score.entry, score.seed), []).append(place)
    for places in pools.values():
        own = [scores[place] for place in places]
        if all(score.pooled for score in own):
            continue  # read from a record, in which they were pooled
        complete = {score.fold for score in own} == folds
        values = _pooled(own, [runs[place][1] for place in places]) if complete else [math.nan] * len(own)
        for place, value in zip(places, values, strict=True):
            scores[place] = replace(scores[place], value=float(value), pooled=True)
    return scores


def _pooled(scores: Sequence[Score], paths: Sequence[Path]) -> Array:
    first = scores[0]
    answers = [read_answers(path) for path in paths]
    reason = unscorable(first.metric, np.concatenate([own.target for own in answers]))
    if reason:
        raise ValueError(
            f"{first.data}, {first.regime}: {first.metric} cannot be computed on the test samples of all {len(scores)} "
            f"folds together ({reason})."
        )
    return contributions(answers, first.metric)
