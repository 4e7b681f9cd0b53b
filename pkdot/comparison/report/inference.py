"""Statistics of paired runs whose training and test samples overlap.

The splits of a comparison share samples: each seed of a repeated hold-out draws from the same subjects, and the
training sets of k folds overlap. Their scores are therefore correlated, the usual standard error is too small, and the
usual paired t-test mistakes chance for an effect. Here every standard error has the correction of Nadeau and Bengio
(2003): 1/J + n_test/n_train in place of 1/J. More seeds shrink the first term; only more data shrink the second.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[Any]

MARGIN = 0.01
"""A method that loses less than this, in the metric's units, is no worse in practice: 1 point."""
LEVEL = 0.05
"""The level of every test; intervals cover 1 - LEVEL."""
_SAME = 1e-12
"""Scores that are closer than this differ by rounding only."""


@dataclass(frozen=True)
class Interval:
    """The two ends of an interval.

    >>> Interval(0.67, 0.91).low
    0.67
    """

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A mean over splits, with its interval and its test.

    >>> found = resampled_mean([0.03, 0.04, 0.02], ratio=0.25)
    >>> round(found.mean, 3), round(found.p, 3), found.splits
    (0.03, 0.059, 3)

    Attributes:
        mean: over splits; NaN without any run.
        standard_error: corrected for the overlap of the splits. With fewer than two splits it is NaN, and so are
            ``low``, ``high``, ``p`` and ``floor``.
        low: 2.5 % bound.
        high: 97.5 % bound.
        p: two-sided p value of a mean of 0.
        floor: one-sided 95 % lower bound.
        runs: the number of runs.
        splits: the number of different splits: the J of the test.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    p: float
    floor: float
    runs: int
    splits: int

    @property
    def non_inferior(self) -> bool | None:
        """Whether the one-sided 95 % lower bound lies above ``-MARGIN``; None where there is no bound."""
        return None if math.isnan(self.floor) else self.floor > -MARGIN


def resampled_mean(values: ArrayLike, ratio: float, splits: ArrayLike | None = None) -> Estimate:
    """The mean of a score, or of a paired difference, over repeated splits: the corrected resampled t-test.

    t = mean / sqrt((1/J + ratio) s^2) with J - 1 degrees of freedom, where s^2 is the variance over the J splits
    (Nadeau and Bengio 2003; Bouckaert and Frank 2004 for repeated folds). The test is exact if a split has training and
    test samples only, and if only the draw of the test samples matters: the mean of J overlapping draws has the
    variance (1/J + ratio) E[s^2]. With validation samples it is conservative.

    Runs on the same split are averaged first. Several seeds on fixed folds differ only in their initialisation. Counted
    as J splits, they would pretend to have seen new data, and the test would reject too often.

    With fewer than two splits there is no standard error, interval or p value: they are NaN. Equal differences have no
    variance; their p value is that of the exact sign-flip test, 2^(1 - J), or 1 if they are 0.

    >>> found = resampled_mean([0.71, 0.74, 0.72], ratio=0.25)
    >>> f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
    '0.723 [0.673, 0.774]'

    Args:
        values: ``(n,)``, one value for each run.
        ratio: test samples / training samples of a split.
        splits: ``(n,)``, numbers of the splits (default: all differ).

    Raises:
        ValueError: the lengths differ, a value is not finite, or ``ratio`` is negative.
    """
    given = np.asarray(values, dtype=float)
    means = _split_means(given, None if splits is None else np.asarray(splits))
    count = len(means)
    if count and not ratio >= 0:
        raise ValueError(f"ratio is {ratio}; expected test samples / training samples, 0 or more.")
    mean = float(means.mean()) if count else math.nan
    if count < 2:
        return Estimate(mean, math.nan, math.nan, math.nan, math.nan, math.nan, given.size, count)
    error = math.sqrt((1 / count + ratio) * _variance(means))
    half, one_sided = (error * _quantile(share, count - 1) for share in (1 - LEVEL / 2, 1 - LEVEL))
    p = _two_sided(mean, error, count)
    return Estimate(mean, error, mean - half, mean + half, p, mean - one_sided, given.size, count)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for the number of tests: max over j <= i of min(1, (m - j + 1) p_(j)) (Holm 1979).

    NaN means that no test was made: it stays NaN and does not count towards m. The order stays as given. Raises
    ``ValueError`` for a p value outside [0, 1].

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    given = np.asarray(p_values, dtype=float)
    tested = np.flatnonzero(~np.isnan(given))
    if ((given[tested] < 0) | (given[tested] > 1)).any():
        raise ValueError(f"p values reach from {np.nanmin(given)} to {np.nanmax(given)}; expected 0 to 1.")
    order = tested[np.argsort(given[tested], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    given[order] = np.minimum(np.maximum.accumulate(steps * given[order]), 1.0)
    return [float(p) for p in given]


@dataclass(frozen=True)
class Gap:
    """The share of the teacher's lead that a method closes.

    >>> Gap(0.78, Interval(0.67, 0.91)).share
    0.78

    Attributes:
        share: mean(method - none) / mean(teacher - none). 1 is the teacher's score; below 0 is worse than undistilled.
        interval: 95 %. None if it has no two ends: too few splits, or the teacher's lead itself is not shown.
    """

    share: float
    interval: Interval | None


def gap_closed(method: ArrayLike, lead: ArrayLike, ratio: float, splits: ArrayLike | None = None) -> Gap | None:
    """Mean of ``method`` / mean of ``lead``, with Fieller's interval; None if the lead's mean is not above 0.

    Fieller's interval (1954) holds all shares r for which the corrected t-test does not reject
    mean(method - r lead) = 0. Unlike a bootstrap over runs it takes the overlap of the splits into account. It has no
    two ends if the lead may be 0, for then any share may be true.

    >>> found = gap_closed([0.06, 0.08, 0.05], [0.10, 0.12, 0.09], ratio=0.25)
    >>> f"{found.share:.2f} [{found.interval.low:.2f}, {found.interval.high:.2f}]"
    '0.61 [0.25, 0.74]'

    Args:
        method: ``(n,)``, the method's score - the undistilled student's, of each run.
        lead: ``(n,)``, the teacher's score - the undistilled student's, of the same runs.
        ratio: test samples / training samples.
        splits: ``(n,)``, as in ``resampled_mean``.

    Raises:
        ValueError: the lengths differ, or a value is not finite.
    """
    numbers = None if splits is None else np.asarray(splits)
    top, bottom = (_split_means(np.asarray(values, dtype=float), numbers) for values in (method, lead))
    if len(top) != len(bottom):
        raise ValueError(f"{len(top)} differences of the method and {len(bottom)} of the teacher; expected pairs.")
    if not len(top) or bottom.mean() <= _SAME:
        return None
    share = float(top.mean() / bottom.mean())
    return Gap(share, _fieller(top, bottom, ratio) if len(top) > 1 else None)


def _fieller(top: Array, bottom: Array, ratio: float) -> Interval | None:
    """The roots r of (top - r bottom)^2 = t^2 var(top - r bottom); None if the lead's own interval holds 0."""
    count = len(top)
    scale = _quantile(1 - LEVEL / 2, count - 1) ** 2 * (1 / count + ratio)
    spread = np.cov(top, bottom)
    first, second = float(top.mean()), float(bottom.mean())
    square = second**2 - scale * spread[1, 1]
    if square <= 0:
        return None
    middle = first * second - scale * spread[0, 1]
    constant = first**2 - scale * spread[0, 0]
    half = math.sqrt(max(middle**2 - square * constant, 0.0))
    return Interval(float((middle - half) / square), float((middle + half) / square))


def verdict(difference: Estimate, corrected_p: float) -> str:
    """What a method's difference to the undistilled student shows, given its p value after Holm's correction.

    "helps" or "harms" if the corrected p value is below ``LEVEL``, otherwise "no difference shown": a test that does
    not reject proves no equality. "non-inferior" is added to methods that do not help but are shown to lose little.

    >>> verdict(resampled_mean([0.03, 0.04, 0.03, 0.04], ratio=0.25), corrected_p=0.01)
    'helps'
    >>> verdict(resampled_mean([0.001, -0.001, 0.002], ratio=0.25), corrected_p=0.7)
    'no difference shown, non-inferior'
    """
    if math.isnan(corrected_p):
        return "too few splits"
    if corrected_p < LEVEL and difference.mean > 0:
        return "helps"
    said = "harms" if corrected_p < LEVEL else "no difference shown"
    return f"{said}, non-inferior" if difference.non_inferior else said


def _split_means(values: Array, splits: Array | None) -> Array:
    if values.ndim != 1 or (splits is not None and splits.shape != values.shape):
        shapes = f"{values.shape} and {None if splits is None else splits.shape}"
        raise ValueError(f"values and splits have shapes {shapes}; expected one value and one split a run.")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite; expected that missing runs are left out.")
    if splits is None or not values.size:
        return values
    numbers, place = np.unique(splits, return_inverse=True)
    means: Array = np.bincount(place, weights=values) / np.bincount(place, minlength=len(numbers))
    return means


def _variance(values: Array) -> float:
    return 0.0 if np.ptp(values) <= _SAME else float(values.var(ddof=1))


@lru_cache
def _quantile(share: float, freedom: int) -> float:
    return float(stats.t.ppf(share, freedom))


def _two_sided(mean: float, error: float, count: int) -> float:
    if abs(mean) <= _SAME:
        return 1.0
    if error == 0:
        # Here t is infinite, but two or three equal differences are no proof: accuracies on few samples often
        # coincide. The exact test, which flips signs, needs no variance.
        return float(2.0 ** (1 - count))
    return float(2 * stats.t.sf(abs(mean) / error, count - 1))
