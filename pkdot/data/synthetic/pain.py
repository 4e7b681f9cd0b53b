"""Simulated people under heat pain: what they feel, what their face shows, how their body responds.

What a person feels in a trial depends on the stimulus and on the person. Face and body respond to it independently,
and each may fail to: some people never show pain, and in some trials the autonomic nervous system does not respond.
So the two modalities together tell more than either alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pkdot.data.biovid import RATE_HZ, SAMPLES, SECONDS
from pkdot.data.synthetic.courses import Course, head_motion, plateau, smooth_noise
from pkdot.data.synthetic.faces import ACTION_UNITS, Identity, Scene, draw_identity, render_clip

HIGHEST_LEVEL = 4

_PAIN_UNITS = [ACTION_UNITS.index(name) for name in ("AU4", "AU6", "AU10", "AU25", "AU43")]
_DISTRACTIONS = [
    [ACTION_UNITS.index(name) for name in names] for names in (["AU12", "AU6"], ["AU25"], ["AU1"], ["AU4"])
]
_BLINK = ACTION_UNITS.index("AU43")


@dataclass(frozen=True)
class PainStory:
    """How strongly and how reliably pain shows. Probabilities are per person or per clip.

    The first two fields concern what both modalities share, the next five the video, the others the biosignals.

    >>> PainStory(reactive=1.0).shown
    0.1
    """

    tolerance_sd: float = 0.45
    """Spread of pain tolerance between people (levels)."""
    felt_sd: float = 0.45
    """Spread of what one person feels under one stimulus (levels)."""
    reactive: float = 0.85
    """Probability that a person's face reacts to pain at all."""
    shown: float = 0.1
    """Probability that a reactive face shows the faintest pain; it grows to 1 with what is felt."""
    distraction: float = 0.5
    """Probability that the face does something unrelated to pain."""
    display: float = 0.32
    """Largest mean intensity of an action unit under the strongest pain."""
    grain: float = 14.0
    """Sensor noise (grey levels of 255)."""
    autonomic: float = 0.85
    """Probability that the autonomic nervous system responds in a trial."""
    non_labile: float = 0.05
    """Probability that a person's skin conductance hardly responds to anything."""
    conductance: float = 2.4
    """Mean rise of skin conductance under the strongest pain (microsiemens)."""
    spontaneous: float = 0.3
    """Spontaneous skin conductance responses per clip (number)."""
    heart: float = 7.0
    """Mean rise of the heart rate under the strongest pain (beats per minute)."""
    muscle: float = 0.8
    """Mean relative rise of the trapezius EMG amplitude under the strongest pain."""
    tension: float = 0.3
    """Relative rise of facial EMG by tension too small to be seen (Part B)."""


@dataclass(frozen=True)
class Person:
    """One participant.

    >>> draw_person(np.random.default_rng(0), PainStory()).habit.shape
    (5,)
    """

    identity: Identity
    tolerance: float
    expressiveness: float
    habit: NDArray[np.float64]
    rest: NDArray[np.float64]
    conductance_level: float
    conductance_gain: float
    latency: float
    heart_rate: float
    heart_gain: float
    breathing_hz: float
    ecg_size: float
    emg_size: float
    muscle_gain: float


@dataclass(frozen=True)
class Face:
    """What the camera sees: ``frames`` (T, size, size, 3), ``units`` (T, 9), their ``time`` (s), and how strongly.

    >>> rng = np.random.default_rng(0)
    >>> film(draw_person(rng, PainStory()), 1.0, rng, PainStory(), frames=2, size=8).frames.shape
    (2, 8, 8, 3)
    """

    frames: NDArray[np.uint8]
    units: NDArray[np.float64]
    time: Course
    amplitude: float


@dataclass(frozen=True)
class Body:
    """What the electrodes measure: ``signal`` (channels, 2816), and how strongly the body responds.

    >>> Body(np.zeros((3, SAMPLES)), amplitude=0.0).signal.shape
    (3, 2816)
    """

    signal: Course
    amplitude: float


def draw_person(rng: np.random.Generator, story: PainStory) -> Person:
    """A random participant.

    >>> 40 < draw_person(np.random.default_rng(0), PainStory()).heart_rate < 110
    True
    """
    reactive, labile = rng.random() < story.reactive, rng.random() >= story.non_labile
    return Person(
        identity=draw_identity(rng),
        tolerance=rng.normal(0, story.tolerance_sd),
        expressiveness=rng.uniform(0.6, 1.3) if reactive else rng.uniform(0.0, 0.15),
        habit=rng.dirichlet(np.full(len(_PAIN_UNITS), 2.0)) * len(_PAIN_UNITS),
        rest=np.abs(rng.normal(0, 0.1, len(ACTION_UNITS))),
        conductance_level=rng.uniform(2.0, 9.0),
        conductance_gain=rng.lognormal(0, 0.3) * (1.0 if labile else 0.12),
        latency=rng.uniform(1.2, 2.2),
        heart_rate=rng.normal(72, 9),
        heart_gain=np.abs(rng.normal(1.0, 0.35)),
        breathing_hz=rng.uniform(0.2, 0.3),
        ecg_size=rng.uniform(400, 1200),
        emg_size=rng.uniform(3, 8),
        muscle_gain=rng.lognormal(0, 0.5),
    )


def felt_pain(person: Person, level: int, rng: np.random.Generator, story: PainStory) -> float:
    """What the person feels: 0 at baseline, about 1 under the strongest stimulus.

    It is convex in the level, because weak stimuli are hard to tell from none.

    >>> rng = np.random.default_rng(0)
    >>> felt_pain(draw_person(rng, PainStory()), 0, rng, PainStory())
    0.0
    """
    if level == 0:
        return 0.0
    felt = max(level + person.tolerance + rng.normal(0, story.felt_sd), 0.0) / HIGHEST_LEVEL
    return float(felt**1.5)


def film(person: Person, pain: float, rng: np.random.Generator, story: PainStory, frames: int, size: int) -> Face:
    """Film the face during a trial.

    >>> rng = np.random.default_rng(0)
    >>> film(draw_person(rng, PainStory()), 0.0, rng, PainStory(), frames=2, size=8).units.shape
    (2, 9)
    """
    time = np.linspace(0, SECONDS, frames)
    course = plateau(time, rng.uniform(1.2, 2.6), 0.25, rng.uniform(1.2, 2.8), 0.35)
    shown = rng.random() < story.shown + (1.0 - story.shown) * pain
    amplitude = float(person.expressiveness * pain * shown * rng.lognormal(0, 0.35))
    units = person.rest + 0.06 * np.abs(smooth_noise(rng, frames, 3, len(ACTION_UNITS)))
    units[:, _PAIN_UNITS] += story.display * amplitude * course[:, None] * person.habit
    if rng.random() < story.distraction:
        unrelated = plateau(time, rng.uniform(0, 4), 0.15, rng.uniform(0.4, 1.6), 0.2) * rng.uniform(0.4, 1.0)
        units[:, _DISTRACTIONS[rng.integers(len(_DISTRACTIONS))]] += unrelated[:, None]
    blinks = rng.uniform(0, SECONDS, rng.poisson(1.5))
    units[(np.abs(time[:, None] - blinks) < 0.12).any(1), _BLINK] += 0.9
    units = np.clip(units, 0.0, 1.0)
    light = (rng.uniform(0.75, 1.1), rng.normal(0, 0.1), rng.normal(0, 0.1))
    scene = Scene(*head_motion(rng, frames, 5), light)
    return Face(render_clip(person.identity, units, scene, size, story.grain, rng), units, time, amplitude)


def record_body(person: Person, pain: float, face: Face, rng: np.random.Generator, story: PainStory, part: str) -> Body:
    """Record the biosignals during a trial. Only the facial EMG of Part B depends on the face.

    >>> rng = np.random.default_rng(0)
    >>> person = draw_person(rng, PainStory())
    >>> face = film(person, 1.0, rng, PainStory(), frames=2, size=8)
    >>> record_body(person, 1.0, face, rng, PainStory(), part="B").signal.shape
    (5, 2816)
    """
    time = np.arange(SAMPLES) / RATE_HZ
    response = pain * float(rng.random() < story.autonomic)
    onset, hold = rng.uniform(1.2, 2.4), rng.uniform(1.5, 3.0)
    effort = plateau(time, onset, 0.25, hold, 0.35)
    strength = response * rng.lognormal(0, 0.25)
    channels = [
        _skin_conductance(time, person, strength, rng, story),
        _electrocardiogram(time, person, response * rng.lognormal(0, 0.25), rng, story),
        _trapezius(time, person, response * rng.lognormal(0, 0.4) * effort, rng, story),
    ]
    if part == "B":
        tension = story.tension * response * rng.lognormal(0, 0.25) * effort
        channels += _facial_emg(time, person, tension, face, rng)
    return Body(np.stack(channels), float(strength))


def _conductance_response(time: Course, latency: float) -> Course:
    since = np.maximum(time - latency, 0.0)
    return (1.0 - np.exp(-since / 0.7)) * np.exp(-np.maximum(since - 2.0, 0.0) / 4.0)


def _skin_conductance(
    time: Course, person: Person, strength: float, rng: np.random.Generator, story: PainStory
) -> Course:
    level = person.conductance_level + rng.normal(0, 0.3)
    drift = 0.015 * np.cumsum(rng.normal(size=time.size)) / np.sqrt(RATE_HZ) + rng.normal(0, 0.02) * time
    size = story.conductance * person.conductance_gain * strength
    course: Course = level + drift + size * _conductance_response(time, person.latency + rng.normal(0, 0.25))
    for _ in range(rng.poisson(story.spontaneous)):
        course = course + rng.exponential(0.45) * _conductance_response(time, rng.uniform(-1.5, 4.5))
    return course.clip(min=0.0)


def _electrocardiogram(
    time: Course, person: Person, strength: float, rng: np.random.Generator, story: PainStory
) -> Course:
    breathing = 3.0 * np.sin(2 * np.pi * (person.breathing_hz * time + rng.random()))
    rise = story.heart * person.heart_gain * strength * plateau(time, 1.8, 0.5, 4.0, 1.0)
    rate = person.heart_rate + rng.normal(0, 3) + rise + breathing
    phase = (np.cumsum(rate) / (60 * RATE_HZ) + rng.random()) % 1.0
    # Centre, width and height of P, Q, R, S and T within a beat.
    waves = ((0.22, 0.035, 0.12), (0.365, 0.012, -0.22), (0.40, 0.012, 1.0), (0.44, 0.014, -0.28), (0.72, 0.06, 0.25))
    beat = sum(height * np.exp(-(((phase - centre) / width) ** 2)) for centre, width, height in waves)
    return person.ecg_size * beat + rng.normal(0, 18, time.size)


def _trapezius(time: Course, person: Person, effort: Course, rng: np.random.Generator, story: PainStory) -> Course:
    movement = np.zeros(time.size)
    if rng.random() < 0.2:
        movement = rng.uniform(0, 1.5) * plateau(time, rng.uniform(0, 4.5), 0.2, rng.uniform(0.3, 1.5), 0.2)
    return rng.normal(0, person.emg_size, time.size) * (1.0 + story.muscle * person.muscle_gain * effort + movement)


def _facial_emg(
    time: Course, person: Person, tension: Course, face: Face, rng: np.random.Generator
) -> tuple[Course, Course]:
    def seen(name: str) -> Course:
        return np.interp(time, face.time, face.units[:, ACTION_UNITS.index(name)])

    frown = 1.0 + 2.5 * seen("AU4") + 2.0 * tension
    smile = 1.0 + 3.0 * seen("AU12") + 0.9 * seen("AU6") + 0.3 * tension
    noise = rng.normal(0, person.emg_size, (2, time.size))
    return noise[0] * frown, noise[1] * smile
