"""Random courses over time, from which the synthetic sets build people's behaviour."""

import numpy as np
from numpy.typing import NDArray

Course = NDArray[np.float64]


def smooth_noise(rng: np.random.Generator, count: int, half_width: int, columns: int) -> Course:
    """White noise smoothed by a Hann window of ``2 half_width + 1`` steps: ``(count, columns)``, of unit variance.

    >>> smooth_noise(np.random.default_rng(0), count=100, half_width=3, columns=2).shape
    (100, 2)
    """
    window = np.hanning(2 * half_width + 3)[1:-1]
    window /= np.sqrt((window**2).sum())
    noise = rng.normal(size=(columns, count + 2 * half_width))
    return np.stack([np.convolve(row, window, "valid") for row in noise], axis=1)


def wandering(rng: np.random.Generator, count: int, scale: float) -> Course:
    """A stationary Ornstein-Uhlenbeck process: ``(count,)``, of unit variance.

    Its autocorrelation falls to 1/e within ``scale`` steps.

    >>> wandering(np.random.default_rng(0), count=100, scale=20.0).shape
    (100,)
    """
    keep = np.exp(-1.0 / scale)
    steps = rng.normal(size=count) * np.sqrt(1.0 - keep**2)
    course = np.empty(count)
    value = rng.normal()
    for i, step in enumerate(steps):
        value = keep * value + step
        course[i] = value
    return course


def plateau(time: Course, onset: float, rise: float, hold: float, fall: float) -> Course:
    """About 1 for ``hold`` seconds from ``onset``, about 0 elsewhere; ``rise`` and ``fall`` are the slopes' lengths.

    >>> plateau(np.array([0.0, 2.0, 4.0]), onset=1.0, rise=0.1, hold=2.0, fall=0.1).round(2)
    array([0., 1., 0.])
    """
    return 1.0 / ((1.0 + np.exp((onset - time) / rise)) * (1.0 + np.exp((time - onset - hold) / fall)))


def head_motion(rng: np.random.Generator, count: int, half_width: int) -> tuple[Course, Course, Course]:
    """The small movements of a head held almost still.

    Args:
        rng: of the movements.
        count: T, the number of frames.
        half_width: of the smoothing window (frames).

    Returns:
        Roll (rad) ``(T,)``, shift (half image widths) ``(T, 2)`` and scale ``(T,)``.

    Example:
        >>> [course.shape for course in head_motion(np.random.default_rng(0), count=12, half_width=5)]
        [(12,), (12, 2), (12,)]
    """
    sway = smooth_noise(rng, count, half_width, 4)
    roll = rng.normal(0, 0.05) + 0.05 * sway[:, 0]
    shift = rng.normal(0, 0.04, 2) + 0.03 * sway[:, 1:3]
    return roll, shift, 1.0 + 0.02 * sway[:, 3]
