"""Draw faces: people who look different, with nine action units that move brows, lids, cheeks and mouth.

Pixels are computed with + - * /, square root, absolute value, minimum and maximum in float32 only. Every processor
rounds these in the same way, so that a seed gives the same picture everywhere.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

ACTION_UNITS = ("AU1", "AU4", "AU6", "AU10", "AU12", "AU15", "AU20", "AU25", "AU43")
"""Inner brow raiser, brow lowerer, cheek raiser, upper lip raiser, lip corner puller (smile), lip corner depressor,
lip stretcher, lips part, eyes closed."""


@dataclass(frozen=True)
class Identity:
    """How a person looks in all clips: colours ``(3,)`` in 0..255, lengths in half image widths.

    >>> draw_identity(np.random.default_rng(0)).skin.shape
    (3,)
    """

    skin: Floats
    hair: Floats
    iris: Floats
    background: Floats
    face_width: float
    face_height: float
    eye_distance: float
    eye_height: float
    eye_opening: float
    brow_height: float
    mouth_width: float


@dataclass(frozen=True)
class Scene:
    """Camera and light of a clip: ``roll`` (T,) in rad, ``shift`` (T, 2), ``scale`` (T,); light as gain and two slopes.

    >>> Scene(np.zeros(2), np.zeros((2, 2)), np.ones(2), light=(1.0, 0.0, 0.0)).shift.shape
    (2, 2)
    """

    roll: NDArray[np.float64]
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    light: tuple[float, float, float]


def draw_identity(rng: np.random.Generator) -> Identity:
    """The looks of a random person.

    >>> draw_identity(np.random.default_rng(0)).face_width < 0.7
    True
    """
    skin = np.array([255, 214, 180]) * rng.uniform(0.55, 1.0) + rng.normal(0, 5, 3)
    return Identity(
        skin=skin.astype(np.float32),
        hair=(rng.uniform(15, 110) * np.array([1.0, 0.8, 0.6]) + rng.uniform(0, 15, 3)).astype(np.float32),
        iris=rng.uniform(20, 110, 3).astype(np.float32),
        background=rng.uniform(40, 170, 3).astype(np.float32),
        face_width=rng.uniform(0.58, 0.70),
        face_height=rng.uniform(0.80, 0.90),
        eye_distance=rng.uniform(0.25, 0.31),
        eye_height=rng.uniform(-0.18, -0.11),
        eye_opening=rng.uniform(0.065, 0.095),
        brow_height=rng.uniform(0.16, 0.22),
        mouth_width=rng.uniform(0.20, 0.28),
    )


class _Canvas:
    """A clip ``(3, T, size, size)``. Shapes are painted in the face's own coordinates, each over the ones before."""

    def __init__(self, scene: Scene, background: Floats, size: int):
        self.size = size
        self.softness = 2.0 / size
        self.cos, self.sin, self.scale = (_per_frame(v) for v in (np.cos(scene.roll), np.sin(scene.roll), scene.scale))
        self.dx, self.dy = _per_frame(scene.shift[:, 0]), _per_frame(scene.shift[:, 1])
        centres = (np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0
        self.column, self.row = centres[None, None, :], centres[None, :, None]
        right, down = self.column - self.dx, self.row - self.dy
        self.x = (self.cos * right + self.sin * down) / self.scale
        self.y = (self.cos * down - self.sin * right) / self.scale
        self.pixels = np.empty((3, *self.x.shape), np.float32)
        self.pixels[:] = background[:, None, None, None]

    def ellipse(
        self,
        x: float,
        y: Floats | float,
        half_width: Floats | float,
        half_height: Floats | float,
        colour: Floats,
        opacity: Floats | float = 1.0,
    ) -> None:
        """A filled ellipse around ``(x, y)``."""
        window = self._window(x, y, np.maximum(half_width, half_height))
        right, down = self.x[window] - x, self.y[window] - y
        beside = np.maximum(np.abs(right) - half_width, np.abs(down) - half_height)
        right, down = right / half_width, down / half_height
        radius = np.sqrt(right * right + down * down)
        right, down = right / half_width, down / half_height
        slope = np.sqrt(right * right + down * down)
        distance = radius * (radius - 1.0) / np.maximum(slope, 1e-6)
        # This first-order distance is too small beyond the ends of a narrow ellipse and would draw tails there.
        self._paint(window, np.maximum(distance, beside), colour, opacity)

    def stroke(
        self,
        x: Floats | float,
        y: Floats | float,
        half_width: Floats | float,
        thickness: Floats | float,
        colour: Floats,
        opacity: Floats | float = 1.0,
        bend: Floats | float = 0.0,
        tilt: Floats | float = 0.0,
        taper: float = 0.0,
    ) -> None:
        """A brush stroke along ``y + bend (1 - u^2) + tilt u``, u in [-1, 1]; ``taper`` 1 thins it to points."""
        window = self._window(x, y, half_width + thickness + np.abs(bend) + np.abs(tilt))
        across = (self.x[window] - x) / half_width
        square = across * across
        middle = y + bend * (1.0 - square) + tilt * across
        beside = np.abs(self.y[window] - middle) - thickness * (1.0 - taper * square)
        self._paint(window, np.maximum(beside, (np.abs(across) - 1.0) * half_width), colour, opacity)

    def light(self, gain: float, slope_x: float, slope_y: float) -> None:
        """Multiply by a light that changes linearly over the picture."""
        self.pixels *= np.float32(gain) + np.float32(slope_x) * self.column + np.float32(slope_y) * self.row

    def _window(self, x: Floats | float, y: Floats | float, radius: Floats | float) -> tuple[slice, slice, slice]:
        """The pixels that a shape within ``radius`` of ``(x, y)`` may touch in any frame; only these are computed."""
        reach = radius * self.scale + 2.0 * self.softness
        column = self.scale * (self.cos * x - self.sin * y) + self.dx
        row = self.scale * (self.sin * x + self.cos * y) + self.dy
        return slice(None), self._span(row, reach), self._span(column, reach)

    def _span(self, centre: Floats, reach: Floats) -> slice:
        first = (float((centre - reach).min()) + 1.0) * self.size / 2.0
        last = (float((centre + reach).max()) + 1.0) * self.size / 2.0
        return slice(min(max(int(first), 0), self.size), min(max(int(last) + 1, 0), self.size))

    def _paint(
        self, window: tuple[slice, slice, slice], distance: Floats, colour: Floats, opacity: Floats | float
    ) -> None:
        cover = np.clip(0.5 - distance / (2.0 * self.softness), 0.0, 1.0) * opacity
        under = self.pixels[(slice(None), *window)]
        under += (colour[:, None, None, None] - under) * cover


def _per_frame(values: NDArray[np.float64]) -> Floats:
    return values.astype(np.float32)[:, None, None]


def _colour(red: float, green: float, blue: float) -> Floats:
    return np.array([red, green, blue], np.float32)


def _draw_eyes(canvas: _Canvas, identity: Identity, au: dict[str, Floats]) -> None:
    y = identity.eye_height
    opening = np.maximum(identity.eye_opening * (1.0 - 0.5 * au["AU6"]) * (1.0 - 0.95 * au["AU43"]), 0.008)
    for side in (-1.0, 1.0):
        x = side * identity.eye_distance
        canvas.ellipse(x, y, 0.15, opening, _colour(236, 236, 236))
        canvas.ellipse(x, y, 0.06, np.minimum(opening, 0.06), identity.iris)
        canvas.ellipse(x, y, 0.03, np.minimum(opening, 0.03), _colour(15, 15, 15))
        canvas.stroke(x, y, 0.16, 0.014, identity.skin * np.float32(0.45), bend=-opening, taper=0.5)
        canvas.stroke(x, y + 0.16, 0.16, 0.012, identity.skin * np.float32(0.7), 0.2 + 0.6 * au["AU6"], bend=0.04)


def _draw_brows(canvas: _Canvas, identity: Identity, au: dict[str, Floats]) -> None:
    y = identity.eye_height - identity.brow_height + 0.09 * au["AU4"] - 0.06 * au["AU1"]
    for side in (-1.0, 1.0):
        x = side * (identity.eye_distance - 0.05 * au["AU4"])
        tilt = side * (0.05 * au["AU1"] - 0.07 * au["AU4"])
        canvas.stroke(x, y, 0.18, 0.028, identity.hair, bend=-0.04 * (1.0 - au["AU4"]), tilt=tilt, taper=0.6)
        frown = identity.skin * np.float32(0.6)
        canvas.stroke(side * 0.035, identity.eye_height - 0.12, 0.014, 0.06, frown, 0.8 * au["AU4"])


def _draw_nose(canvas: _Canvas, identity: Identity, au: dict[str, Floats]) -> None:
    canvas.stroke(0.0, 0.21, 0.09, 0.018, identity.skin * np.float32(0.62), 0.8, bend=0.03)
    wrinkle = identity.skin * np.float32(0.62)
    for side in (-1.0, 1.0):
        fold = 0.15 + 0.75 * np.maximum(au["AU10"], 0.4 * au["AU12"])
        canvas.stroke(side * 0.23, 0.30 - 0.03 * au["AU10"], 0.06, 0.018, wrinkle, fold, bend=-0.02, tilt=side * 0.15)
        canvas.stroke(side * 0.05, 0.05, 0.03, 0.012, wrinkle, 0.7 * au["AU10"], tilt=side * 0.03)


def _draw_mouth(canvas: _Canvas, identity: Identity, au: dict[str, Floats]) -> None:
    y = 0.48 - 0.05 * au["AU10"]
    width = identity.mouth_width * (1.0 + 0.3 * au["AU12"] + 0.2 * au["AU20"])
    # Rows count downwards: a smile bends the middle of the mouth down and leaves its corners up.
    bend = 0.13 * au["AU12"] - 0.11 * au["AU15"]
    gap = 0.015 + 0.15 * au["AU25"] + 0.03 * au["AU10"]
    canvas.stroke(0.0, y, width, gap + 0.045, _colour(170, 75, 80), bend=bend, taper=0.8)
    canvas.stroke(0.0, y, width * 0.85, gap, _colour(60, 20, 25), bend=bend, taper=0.8)
    teeth = np.clip(au["AU25"] + 0.6 * au["AU10"] + 0.6 * au["AU20"] - 0.35, 0.0, 0.9)
    canvas.stroke(0.0, y - 0.5 * gap, width * 0.65, 0.25 * gap, _colour(235, 230, 220), teeth, bend=bend, taper=0.5)


def render_clip(
    identity: Identity, units: NDArray[np.float64], scene: Scene, size: int, noise: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw all frames of a clip.

    Args:
        identity: the person.
        units: ``(T, 9)``, the intensity of each of :data:`ACTION_UNITS` in [0, 1].
        scene: camera and light.
        size: side of a frame (pixels).
        noise: amplitude of the uniform sensor noise (grey levels of 255).
        rng: of the noise.

    Returns:
        uint8 ``(T, size, size, 3)``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> still = Scene(np.zeros(2), np.zeros((2, 2)), np.ones(2), light=(1.0, 0.0, 0.0))
        >>> render_clip(draw_identity(rng), np.zeros((2, 9)), still, size=8, noise=0.0, rng=rng).shape
        (2, 8, 8, 3)
    """
    au = {name: _per_frame(units[:, i]) for i, name in enumerate(ACTION_UNITS)}
    canvas = _Canvas(scene, identity.background, size)
    canvas.ellipse(0.0, 1.15, 0.75, 0.40, identity.background * np.float32(0.45))
    canvas.ellipse(0.0, 0.80, 0.26, 0.35, identity.skin * np.float32(0.8))
    canvas.ellipse(0.0, -0.10, identity.face_width * 1.13, identity.face_height * 1.05, identity.hair)
    canvas.ellipse(0.0, 0.06, identity.face_width, identity.face_height, identity.skin)
    _draw_eyes(canvas, identity, au)
    _draw_brows(canvas, identity, au)
    _draw_nose(canvas, identity, au)
    _draw_mouth(canvas, identity, au)
    canvas.light(*scene.light)
    grain = rng.integers(-127, 128, canvas.pixels.shape, dtype=np.int8)
    canvas.pixels += grain * np.float32(noise / 127.0)
    frames = np.clip(canvas.pixels + 0.5, 0.0, 255.0).astype(np.uint8)
    return np.ascontiguousarray(frames.transpose(1, 2, 3, 0))
