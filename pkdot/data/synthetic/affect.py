"""Simulated people who talk with changing feelings: valence and arousal, what the face shows, how the voice sounds.

The face shows valence well and arousal weakly. The voice shows arousal well and valence weakly, and it is silent at
times. So audio is privileged information on arousal, and hardly on valence.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pkdot.data.synthetic.courses import Course, head_motion, smooth_noise, wandering
from pkdot.data.synthetic.faces import ACTION_UNITS, Scene, draw_identity, render_clip

AUDIO_HZ = 16_000
HARMONICS = 12
_FRAMES_AT_ONCE = 30


@dataclass(frozen=True)
class AffectStory:
    """How feelings show, and how recordings fail.

    >>> AffectStory(hiss=0.0).arousal_in_face
    0.6
    """

    change_s: float = 3.0
    """Time scale on which feelings change (s)."""
    arousal_in_face: float = 0.6
    """Strength of arousal in the face, relative to valence."""
    valence_in_voice: float = 0.35
    """Strength of valence in the voice, relative to arousal."""
    distraction: float = 0.25
    """Movements of the face that are unrelated to feelings (intensity)."""
    grain: float = 10.0
    """Sensor noise (grey levels of 255)."""
    hiss: float = 0.012
    """Background noise of the audio (full scale)."""
    undetected: float = 0.04
    """Share of frames in which the face detector finds nothing; they come in groups."""
    invalid: float = 0.02
    """Share of frames whose annotation is -5."""


@dataclass(frozen=True)
class Feelings:
    """The hidden courses, a value for each frame: valence and arousal in [-1, 1], and whether the person talks (0, 1).

    >>> feelings = draw_feelings(np.random.default_rng(0), frames=24, fps=12, story=AffectStory())
    >>> feelings.valence.shape
    (24,)
    """

    valence: Course
    arousal: Course
    talking: Course


def draw_feelings(rng: np.random.Generator, frames: int, fps: int, story: AffectStory) -> Feelings:
    """Courses that wander around a mood, which differs between videos.

    >>> feelings = draw_feelings(np.random.default_rng(0), frames=24, fps=12, story=AffectStory())
    >>> bool((abs(feelings.arousal) <= 1).all())
    True
    """

    def course(scale_s: float) -> Course:
        window = np.hanning(fps + 2)[1:-1]
        margin = fps // 2
        walk = wandering(rng, frames + 2 * margin + 1, scale_s * fps)
        return np.convolve(walk, window / window.sum(), "same")[margin : margin + frames]

    valence = np.tanh(rng.normal(0.1, 0.35) + 0.6 * course(story.change_s))
    arousal = np.tanh(rng.normal(0.1, 0.25) + 0.55 * course(story.change_s) + 0.25 * np.abs(valence))
    return Feelings(valence, arousal, (course(0.6) > -0.3).astype(float))


def film_feelings(
    feelings: Feelings, rng: np.random.Generator, fps: int, size: int, story: AffectStory
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Film the face: frames uint8 ``(T, size, size, 3)``, and the action units ``(T, 9)`` that they show.

    >>> feelings = draw_feelings(np.random.default_rng(0), frames=4, fps=12, story=AffectStory())
    >>> frames, units = film_feelings(feelings, np.random.default_rng(1), fps=12, size=8, story=AffectStory())
    >>> frames.shape, units.shape
    ((4, 8, 8, 3), (4, 9))
    """
    frames = feelings.valence.size
    identity = draw_identity(rng)
    light = (rng.uniform(0.7, 1.1), rng.normal(0, 0.1), rng.normal(0, 0.1))
    scene = Scene(*head_motion(rng, frames, 8), light)
    units = _facial_units(feelings, rng, fps, story)
    parts = []
    for start in range(0, frames, _FRAMES_AT_ONCE):
        part = slice(start, start + _FRAMES_AT_ONCE)
        moment = Scene(scene.roll[part], scene.shift[part], scene.scale[part], light)
        parts.append(render_clip(identity, units[part], moment, size, story.grain, rng))
    return np.concatenate(parts), units


def _facial_units(feelings: Feelings, rng: np.random.Generator, fps: int, story: AffectStory) -> NDArray[np.float64]:
    frames = feelings.valence.size
    gain = rng.uniform(0.7, 1.1)
    pleased, displeased = gain * np.clip(feelings.valence, 0, 1), gain * np.clip(-feelings.valence, 0, 1)
    alert = story.arousal_in_face * feelings.arousal
    time = np.arange(frames) / fps
    talk = feelings.talking * np.abs(np.sin(np.pi * (rng.uniform(3, 5) * time + rng.random())))
    unrelated = story.distraction * wandering(rng, frames, 3.0 * fps)
    intensity = {
        "AU1": np.clip(alert, 0, 1),
        "AU4": 0.7 * displeased + np.clip(-unrelated, 0, 1),
        "AU6": 0.6 * pleased,
        "AU10": 0.4 * displeased,
        "AU12": 0.9 * pleased + np.clip(unrelated, 0, 1),
        "AU15": 0.9 * displeased,
        "AU20": 0.2 * displeased * np.clip(feelings.arousal, 0, 1),
        "AU25": 0.45 * talk + 0.4 * np.clip(alert, 0, 1),
        "AU43": np.clip(0.25 - 0.5 * alert, 0, 0.6) + 0.9 * (rng.random(frames) < 0.03),
    }
    rest = np.abs(rng.normal(0, 0.08, len(ACTION_UNITS)))
    twitches = 0.05 * smooth_noise(rng, frames, 2, len(ACTION_UNITS))
    return np.clip(np.stack([intensity[name] for name in ACTION_UNITS], axis=1) + rest + twitches, 0.0, 1.0)


def speak(feelings: Feelings, rng: np.random.Generator, fps: int, story: AffectStory) -> Course:
    """The voice in [-1, 1] at 16 kHz. Pitch, loudness and tempo rise with arousal, brightness with both.

    >>> feelings = draw_feelings(np.random.default_rng(0), frames=4, fps=12, story=AffectStory())
    >>> speak(feelings, np.random.default_rng(1), fps=12, story=AffectStory()).shape
    (5333,)
    """
    frames = feelings.valence.size
    time = np.arange(frames * AUDIO_HZ // fps) * (fps / AUDIO_HZ)

    def sampled(course: Course) -> Course:
        values: Course = np.interp(time, np.arange(frames), course)
        return values

    valence, arousal = story.valence_in_voice * feelings.valence, feelings.arousal
    pitch = rng.uniform(95, 230) * (1 + 0.45 * arousal + 0.12 * valence)
    vibrato = 1 + 0.03 * np.sin(2 * np.pi * 4.5 * time / fps)
    phase = 2 * np.pi * np.cumsum(sampled(pitch) * vibrato) / AUDIO_HZ
    syllables = 0.35 + 0.65 * np.abs(np.sin(np.pi * np.cumsum(sampled(3.2 + 2.2 * arousal)) / AUDIO_HZ))
    loudness = sampled(feelings.talking * 10 ** (0.45 * arousal - 0.7))
    steepness = 1.9 - 0.7 * arousal - 0.8 * valence
    tone = np.zeros_like(phase)
    # sin(n x) follows from the two harmonics below it; a sine for each harmonic would take most of the time.
    lower, harmonic, twice_cosine = np.zeros_like(phase), np.sin(phase), 2 * np.cos(phase)
    for number in range(1, HARMONICS + 1):
        tone += sampled(float(number) ** -steepness) * harmonic
        lower, harmonic = harmonic, twice_cosine * harmonic - lower
    return np.clip(tone * syllables * loudness + rng.normal(0, story.hiss, tone.size), -1.0, 1.0)


def detector_gaps(rng: np.random.Generator, frames: int, story: AffectStory) -> NDArray[np.bool_]:
    """The frames in which the detector finds no face: ``(T,)`` bool, in groups of 2 to 11 frames.

    >>> int(detector_gaps(np.random.default_rng(0), frames=110, story=AffectStory(undetected=0.0)).sum())
    0
    """
    missing = np.zeros(frames, bool)
    for start in np.flatnonzero(rng.random(frames) < story.undetected / 6.5):
        missing[start : start + rng.integers(2, 12)] = True
    return missing
