"""How figures are printed, in Markdown, on the page and in the picture alike."""

import math

from pkdot.comparison.report.inference import Estimate, Gap

NOTHING = "–"
"""Printed where there is no figure."""


def points(value: float) -> str:
    """A difference as points (100 times the metric) with its sign.

    >>> points(0.0123)
    '+1.23'
    """
    return NOTHING if math.isnan(value) else f"{round(100 * value, 2) + 0.0:+.2f}"


def p_value(p: float) -> str:
    """A p value with three decimals.

    >>> p_value(0.0414), p_value(0.0002)
    ('0.041', '<0.001')
    """
    if math.isnan(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def level(estimate: Estimate) -> str:
    """A mean score in points, and half of its 95 % interval.

    >>> from pkdot.comparison.report.inference import resampled_mean
    >>> level(resampled_mean([0.71, 0.74, 0.72], ratio=0.25))
    '72.33 ± 5.02'
    """
    if math.isnan(estimate.mean):
        return NOTHING
    half = "" if math.isnan(estimate.standard_error) else f" ± {100 * (estimate.high - estimate.mean):.2f}"
    return f"{100 * estimate.mean:.2f}{half}"


def difference(estimate: Estimate) -> str:
    """A difference in points with its 95 % interval.

    >>> from pkdot.comparison.report.inference import resampled_mean
    >>> difference(resampled_mean([0.03, 0.04, 0.02], ratio=0.25))
    '+3.00 [-0.29, +6.29]'
    """
    if math.isnan(estimate.low):
        return points(estimate.mean)
    return f"{points(estimate.mean)} [{points(estimate.low)}, {points(estimate.high)}]"


def gap(closed: Gap | None) -> str:
    """The share of the teacher's lead that a method closes, in per cent, with its 95 % interval.

    >>> from pkdot.comparison.report.inference import Gap, Interval
    >>> gap(Gap(0.78, Interval(0.67, 0.91))), gap(Gap(0.4, None))
    ('78 % [67, 91]', '40 % [open]')
    """
    if closed is None:
        return NOTHING
    share = f"{round(100 * closed.share)} %"
    if closed.interval is None:
        return f"{share} [open]"
    return f"{share} [{100 * closed.interval.low:.0f}, {100 * closed.interval.high:.0f}]"
