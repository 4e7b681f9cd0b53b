"""Random courses over time, from which the synthetic sets build people's behaviour."""

import numpy as np
from numpy.typing import NDArray

Course = NDArray[np.float64]


def smooth_noise(rng: np.random.Generator, count: int, half_width: int, columns: int) -> Course:
    """White noise smoothed by a Hann window of ``2 half_width + 1`` steps, of unit variance, ``(count, columns)``."""
    window = np.hanning(2 * half_width + 3)[1:-1]
    window /= np.sqrt((window**2).sum())
    noise = rng.normal(size=(columns, count + 2 * half_width))
    return np.stack([np.convolve(row, window, "valid") for row in noise], axis=1)


def wandering(rng: np.random.Generator, count: int, memory: float) -> Course:
    """A stationary Ornstein-Uhlenbeck process of unit variance that forgets over ``memory`` steps, ``(count,)``."""
    keep = np.exp(-1.0 / memory)
    steps = rng.normal(size=count) * np.sqrt(1.0 - keep**2)
    course = np.empty(count)
    value = rng.normal()
    for i, step in enumerate(steps):
        value = keep * value + step
        course[i] = value
    return course


def plateau(time: Course, onset: float, rise: float, hold: float, fall: float) -> Course:
    """About 1 from ``onset`` for ``hold`` seconds and about 0 elsewhere; the slopes take ``rise`` and ``fall``."""
    return 1.0 / ((1.0 + np.exp((onset - time) / rise)) * (1.0 + np.exp((time - onset - hold) / fall)))


def head_motion(rng: np.random.Generator, count: int, half_width: int) -> tuple[Course, Course, Course]:
    """Roll (rad), shift (half image widths) and scale of a head that is held almost still: (T,), (T, 2), (T,)."""
    sway = smooth_noise(rng, count, half_width, 4)
    roll = rng.normal(0, 0.05) + 0.05 * sway[:, 0]
    shift = rng.normal(0, 0.04, 2) + 0.03 * sway[:, 1:3]
    return roll, shift, 1.0 + 0.02 * sway[:, 3]
