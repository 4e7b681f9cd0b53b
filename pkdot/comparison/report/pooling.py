"""Folds that are too small to be scored one by one: their predictions are pooled and scored once.

If one subject with one sample is left out at a time, a fold has no concordance or kappa of its own, and its accuracy is
0 or 1. Such folds are pooled, as is usual (Forman and Scholz 2010): each entry and seed gets one score, of the
predictions of all folds together. A single score has no spread to test, and more seeds are not new data. What remains
to test are the folds. The jackknife leaves each fold out of the pool in turn (Quenouille 1956; Tukey 1958; Efron and
Tibshirani 1993, chapter 11), and fold j of J gets the value

    t + (J - 1) (mean_i t_(i) - t_(j)),    t: score of the pool, t_(j): score of the pool without fold j.

The mean of these values is the pooled score, and their variance over J is the jackknife's variance of it. So they are
treated like scores of folds: in the paired, corrected t-test, its intervals, Fieller's interval and the ranks. If a
score is a mean over samples, as accuracy is, and each fold has one sample, the values are those of the samples and the
test is the usual one. A model that learns from all samples but one predicts that one with a bias away from its target,
so a pooled CCC is a little too low. This holds for all entries, and what is tested are their differences.

Between two equal entries with independent errors, on 6 to 40 folds of one sample, the t-test of these values at 5 %
rejected in 2.5 to 6 % of the cases (CCC, kappa and accuracy). With the correction for training samples that the folds
share, which is applied here as everywhere, it rejected in 0.3 to 1.3 %: it is conservative.
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
"""The labelled samples that a fold needs to be scored alone, for each metric."""


@dataclass(frozen=True)
class Answers:
    """What a run predicted on the labelled samples of its test split.

    >>> Answers(np.array([[0.0], [1.0]]), np.array([[0.0], [0.0]]), classes=2).target.shape
    (2, 1)

    Attributes:
        target, prediction: ``(n, R)`` values, or ``(n, 1)`` numbers of classes.
        classes: the number of classes; 0 for a regression.
    """

    target: Array
    prediction: Array
    classes: int


def pooled_where_too_small(runs: Sequence[tuple[Score, Path]]) -> list[Score]:
    """The scores of runs; folds that are too small to be scored one by one get their share of the pooled score.

    A fold is too small if its metric cannot be computed there, or if it has fewer samples than ``FEWEST``. One such
    fold is enough: then all folds of its data set and regime are pooled, for each entry and seed, and the value of a
    score is the share of its fold (see above). A seed of an entry that lacks a fold has no score: NaN, a missing run.
    Without folds there is nothing to pool: a test split on which the metric cannot be computed has no score, and a
    warning says so.

    Args:
        runs: what each run scored on its own test split, and its ``predictions.csv``.

    Raises:
        ValueError: predictions to pool cannot be read; or the metric cannot be computed on the pool either, or on none
            of the test splits.
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
    """``(J,)``: the pooled score of J folds, divided among them by the jackknife.

    >>> folds = [Answers(np.array([[1.0]]), np.array([[answer]]), classes=2) for answer in (1.0, 0.0, 1.0)]
    >>> float(contributions(folds, "accuracy").mean().round(2))  # the pooled score
    0.67
    """
    whole = _score(folds, metric)
    without = np.array([_score([*folds[:place], *folds[place + 1 :]], metric) for place in range(len(folds))])
    values: Array = whole + (len(folds) - 1) * (without.mean() - without)
    return values


def read_answers(path: Path) -> Answers:
    """The labelled samples of a ``predictions.csv``. Raises ``ValueError`` for a file that cannot be read as one."""
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
    """The number of targets, and the number of each class, from the header without id and subject."""
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
    """Add the targets of each test split, from the first run that has them: all runs of a split have the same."""
    for score, path in runs:
        if (score.data, score.split) not in targets and path.is_file():
            targets[score.data, score.split] = read_answers(path).target


def _why_unscorable(score: Score, targets: Mapping[tuple[str, str], Array]) -> str:
    target = targets.get((score.data, score.split))
    return "" if target is None else unscorable(score.metric, target)


def _apart(runs: Sequence[tuple[Score, Path]], targets: Mapping[tuple[str, str], Array]) -> list[Score]:
    """Scores without folds: NaN if the metric cannot be computed on the test split."""
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
    """Scores of folds: unchanged if all folds are large enough, otherwise pooled."""
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
