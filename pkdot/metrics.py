"""Metrics in float64, as pure functions of arrays of predictions and targets, and paired statistics over runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def _pair(prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    first, second = np.asarray(prediction), np.asarray(target)
    if first.shape != second.shape:
        raise ValueError(f"prediction has shape {first.shape} and target {second.shape}; expected the same.")
    if first.size == 0:
        raise ValueError("no sample to score: prediction and target are empty.")
    return first, second


def accuracy(prediction: ArrayLike, target: ArrayLike) -> float:
    """Share of ``(n,)`` predicted classes that are right."""
    first, second = _pair(prediction, target)
    return float((first == second).mean())


def confusion_matrix(prediction: ArrayLike, target: ArrayLike, classes: int) -> Array:
    """``(C, C)`` counts; rows are targets, columns predictions. Raises ``ValueError`` for a class out of range."""
    first, second = _pair(prediction, target)
    for name, values in (("prediction", first), ("target", second)):
        if values.min() < 0 or values.max() >= classes:
            raise ValueError(f"{name} holds classes {values.min()}..{values.max()}; expected 0..{classes - 1}.")
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (second.astype(np.int64), first.astype(np.int64)), 1)
    return counts


def macro_f1(prediction: ArrayLike, target: ArrayLike, classes: int) -> float:
    """Mean over *all* ``classes`` of 2 TP / (2 TP + FP + FN); a class that never occurs counts as 0.

    A fixed list of classes keeps folds comparable: dropping the absent ones would flatter a fold that lacks them.
    """
    counts = confusion_matrix(prediction, target, classes)
    hits = np.diag(counts).astype(float)
    total = counts.sum(0) + counts.sum(1)
    return float(np.where(total > 0, 2 * hits / np.maximum(total, 1), 0.0).mean())


def quadratic_weighted_kappa(prediction: ArrayLike, target: ArrayLike, classes: int) -> float:
    """1 - sum_ij w_ij O_ij / sum_ij w_ij E_ij with w_ij = (i - j)^2; 0 where one side is constant (Cohen 1968)."""
    observed = confusion_matrix(prediction, target, classes).astype(float)
    levels = np.arange(classes)
    weight = (levels[:, None] - levels[None, :]) ** 2.0
    expected = np.outer(observed.sum(1), observed.sum(0)) / observed.sum()
    disagreement = float((weight * expected).sum())
    if disagreement == 0.0 or max(observed.sum(0).max(), observed.sum(1).max()) == observed.sum():
        return 0.0
    return float(1.0 - (weight * observed).sum() / disagreement)


def mean_absolute_error(prediction: ArrayLike, target: ArrayLike) -> float:
    """Mean |prediction - target| over all entries, in the target's units (levels for ordinal targets)."""
    first, second = _pair(prediction, target)
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


def root_mean_squared_error(prediction: ArrayLike, target: ArrayLike) -> float:
    """Root of the mean squared difference over all entries, in the target's units."""
    first, second = _pair(prediction, target)
    return float(np.sqrt(((first.astype(float) - second.astype(float)) ** 2).mean()))


def concordance(prediction: ArrayLike, target: ArrayLike) -> Array:
    """Lin's concordance correlation for each column of ``(n, R)``: ``(R,)``.

    2 cov / (var_p + var_t + (mean_p - mean_t)^2) with population (1/n) moments, as Lin (1989) and the Aff-Wild2
    scores take them. 0 where prediction or target is constant.
    """
    first, second = (values.astype(float) for values in _pair(prediction, target))
    covariance = ((first - first.mean(0)) * (second - second.mean(0))).mean(0)
    scale = first.var(0) + second.var(0) + (first.mean(0) - second.mean(0)) ** 2
    return _ratio_unless_constant(2 * covariance, scale, first, second)


def pearson(prediction: ArrayLike, target: ArrayLike) -> Array:
    """Pearson's correlation for each column of ``(n, R)``: ``(R,)``; 0 where a side is constant."""
    first, second = (values.astype(float) for values in _pair(prediction, target))
    covariance = ((first - first.mean(0)) * (second - second.mean(0))).mean(0)
    return _ratio_unless_constant(covariance, first.std(0) * second.std(0), first, second)


def r_squared(prediction: ArrayLike, target: ArrayLike) -> Array:
    """1 - residual / total sum of squares for each column of ``(n, R)``: ``(R,)``; 0 where the target is constant."""
    first, second = (values.astype(float) for values in _pair(prediction, target))
    residual, total = ((first - second) ** 2).sum(0), ((second - second.mean(0)) ** 2).sum(0)
    constant = np.ptp(second, axis=0) == 0
    return np.where(constant, 0.0, 1.0 - residual / np.where(constant, 1.0, total))


def unscorable(metric: str, target: ArrayLike) -> str:
    """Why a metric says nothing on targets ``(n,)`` or ``(n, R)``, in a few words; empty where it can be computed.

    CCC and QWK measure agreement against the spread of the targets. Without any they are 0 by definition, whatever
    the predictions are.
    """
    values = np.asarray(target)
    if metric in ("ccc", "qwk") and len(values) == 1:
        return "it has one labelled sample"
    if metric in ("ccc", "qwk") and (values == values[:1]).all(axis=0).any():
        return f"its {len(values)} labelled samples have the same target"
    return ""


def _ratio_unless_constant(numerator: Array, denominator: Array, first: Array, second: Array) -> Array:
    # Asked of the values: the variance of equal numbers need not come out as exactly 0.
    constant = (np.ptp(first, axis=0) == 0) | (np.ptp(second, axis=0) == 0) | (denominator == 0)
    return np.where(constant, 0.0, numerator / np.where(constant, 1.0, denominator))


@dataclass(frozen=True)
class PairedDifference:
    """Mean of ``n`` paired differences and its standard error (NaN for one pair)."""

    mean: float
    standard_error: float
    n: int


def paired_difference(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """``first - second`` over pairs that share a seed or a fold."""
    left, right = _pair(first, second)
    differences = left.astype(float) - right.astype(float)
    n = differences.size
    error = float(differences.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return PairedDifference(float(differences.mean()), error, n)
