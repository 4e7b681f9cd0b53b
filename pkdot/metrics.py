"""Metrics as pure functions of predictions and targets, computed in float64."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def accuracy(prediction: ArrayLike, target: ArrayLike) -> float:
    """Share of ``(n,)`` predicted classes that are right.

    Raises ``ValueError``, as all metrics do, if the shapes differ or there is no sample.

    >>> accuracy([0, 1, 1, 2], [0, 1, 2, 2])
    0.75
    """
    first, second = _pair(prediction, target)
    return float((first == second).mean())


def confusion_matrix(prediction: ArrayLike, target: ArrayLike, classes: int) -> Array:
    """``(C, C)`` counts; rows are targets, columns are predictions. Raises ``ValueError`` for a class out of range.

    >>> confusion_matrix([0, 1, 1], [0, 0, 1], classes=2)
    array([[1, 1],
           [0, 1]])
    """
    first, second = _pair(prediction, target)
    for name, values in (("prediction", first), ("target", second)):
        if values.min() < 0 or values.max() >= classes:
            raise ValueError(f"{name} holds classes {values.min()}..{values.max()}; expected 0..{classes - 1}.")
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (second.astype(np.int64), first.astype(np.int64)), 1)
    return counts


def macro_f1(prediction: ArrayLike, target: ArrayLike, classes: int) -> float:
    """Mean of 2 TP / (2 TP + FP + FN) over all ``classes``; a class that never occurs counts as 0.

    With a fixed list of classes, folds can be compared. Leaving out absent classes would favour folds that lack them.

    >>> macro_f1([0, 0, 1], [0, 1, 1], classes=2), macro_f1([0, 0, 1], [0, 1, 1], classes=4)
    (0.6666666666666666, 0.3333333333333333)
    """
    counts = confusion_matrix(prediction, target, classes)
    hits = np.diag(counts).astype(float)
    total = counts.sum(0) + counts.sum(1)
    return float(np.where(total > 0, 2 * hits / np.maximum(total, 1), 0.0).mean())


def quadratic_weighted_kappa(prediction: ArrayLike, target: ArrayLike, classes: int) -> float:
    r"""Agreement on an ordinal scale, corrected for chance (Cohen 1968); 0 if one side is constant.

    .. math:: 1 - \frac{\sum_{ij} (i - j)^2 O_{ij}}{\sum_{ij} (i - j)^2 E_{ij}}

    with the observed counts O and the counts E that are expected for independent predictions.

    >>> quadratic_weighted_kappa([0, 1, 2, 2], [0, 1, 2, 1], classes=3)
    0.8
    """
    observed = confusion_matrix(prediction, target, classes).astype(float)
    levels = np.arange(classes)
    weight = (levels[:, None] - levels[None, :]) ** 2.0
    expected = np.outer(observed.sum(1), observed.sum(0)) / observed.sum()
    disagreement = float((weight * expected).sum())
    if disagreement == 0.0 or max(observed.sum(0).max(), observed.sum(1).max()) == observed.sum():
        return 0.0
    return float(1.0 - (weight * observed).sum() / disagreement)


def mean_absolute_error(prediction: ArrayLike, target: ArrayLike) -> float:
    """Mean absolute difference over all entries, in units of the target (levels for ordinal targets).

    >>> mean_absolute_error([1.0, 3.0], [1.0, 1.0])
    1.0
    """
    first, second = _pair(prediction, target)
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


def root_mean_squared_error(prediction: ArrayLike, target: ArrayLike) -> float:
    """Root of the mean squared difference over all entries, in units of the target.

    >>> root_mean_squared_error([1.0, 3.0], [1.0, 1.0])
    1.4142135623730951
    """
    first, second = _pair(prediction, target)
    return float(np.sqrt(((first.astype(float) - second.astype(float)) ** 2).mean()))


def concordance(prediction: ArrayLike, target: ArrayLike) -> Array:
    r"""Lin's concordance correlation (CCC) of each column of ``(n, R)``: ``(R,)``; 0 if one side is constant.

    .. math:: \frac{2 \operatorname{cov}}{\sigma_p^2 + \sigma_t^2 + (\mu_p - \mu_t)^2}

    with population (1/n) moments, as in Lin (1989) and in the scores of Aff-Wild2.

    >>> concordance([[1.0], [2.0], [3.0]], [[1.0], [2.0], [3.0]]), concordance([[2.0], [3.0]], [[1.0], [2.0]])
    (array([1.]), array([0.33333333]))
    """
    first, second = (values.astype(float) for values in _pair(prediction, target))
    covariance = ((first - first.mean(0)) * (second - second.mean(0))).mean(0)
    scale = first.var(0) + second.var(0) + (first.mean(0) - second.mean(0)) ** 2
    return _ratio_unless_constant(2 * covariance, scale, first, second)


def pearson(prediction: ArrayLike, target: ArrayLike) -> Array:
    """Pearson's correlation of each column of ``(n, R)``: ``(R,)``; 0 if one side is constant.

    >>> pearson([[2.0], [4.0], [6.0]], [[1.0], [2.0], [3.0]]).round(3)
    array([1.])
    """
    first, second = (values.astype(float) for values in _pair(prediction, target))
    covariance = ((first - first.mean(0)) * (second - second.mean(0))).mean(0)
    return _ratio_unless_constant(covariance, first.std(0) * second.std(0), first, second)


def r_squared(prediction: ArrayLike, target: ArrayLike) -> Array:
    """1 - residual / total sum of squares of each column of ``(n, R)``: ``(R,)``; 0 if the target is constant.

    >>> r_squared([[2.0], [2.0], [2.0]], [[1.0], [2.0], [3.0]])
    array([0.])
    """
    first, second = (values.astype(float) for values in _pair(prediction, target))
    residual, total = ((first - second) ** 2).sum(0), ((second - second.mean(0)) ** 2).sum(0)
    constant = np.ptp(second, axis=0) == 0
    return np.where(constant, 0.0, 1.0 - residual / np.where(constant, 1.0, total))


def unscorable(metric: str, target: ArrayLike) -> str:
    """Say in a few words why a metric is meaningless on targets ``(n,)`` or ``(n, R)``; empty if it has a meaning.

    CCC and QWK measure agreement relative to the spread of the targets. If the targets have no spread, both are 0 by
    definition, for any predictions.

    >>> unscorable("ccc", [[0.5], [0.5]])
    'its 2 labelled samples have the same target'
    """
    values = np.asarray(target)
    if metric in ("ccc", "qwk") and len(values) == 1:
        return "it has one labelled sample"
    if metric in ("ccc", "qwk") and (values == values[:1]).all(axis=0).any():
        return f"its {len(values)} labelled samples have the same target"
    return ""


def _pair(prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    first, second = np.asarray(prediction), np.asarray(target)
    if first.shape != second.shape:
        raise ValueError(f"prediction has shape {first.shape} and target {second.shape}; expected the same.")
    if first.size == 0:
        raise ValueError("no sample to score: prediction and target are empty.")
    return first, second


def _ratio_unless_constant(numerator: Array, denominator: Array, first: Array, second: Array) -> Array:
    # Test the values, not the variance: after rounding, the variance of equal numbers may differ from 0.
    constant = (np.ptp(first, axis=0) == 0) | (np.ptp(second, axis=0) == 0) | (denominator == 0)
    return np.where(constant, 0.0, numerator / np.where(constant, 1.0, denominator))
