"""A synthetic Aff-Wild2: simulated people with changing feelings, in the layout of the real data set."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile
from tqdm import tqdm

from pkdot.checks import check_range
from pkdot.config import DataConfig
from pkdot.data import media
from pkdot.data.affwild2 import INVALID, AffWild2
from pkdot.data.cache import cached_folder, recipe_digest
from pkdot.data.media import write_frames
from pkdot.data.synthetic import affect, courses, faces
from pkdot.data.synthetic.affect import (
    AUDIO_HZ,
    AffectStory,
    Feelings,
    detector_gaps,
    draw_feelings,
    film_feelings,
    speak,
)
from pkdot.data.synthetic.courses import Course
from pkdot.data.synthetic.faces import ACTION_UNITS
from pkdot.data.tables import write_lines

_MAKERS = (affect, courses, faces, media, sys.modules[__name__])
_SET = 2
"""Part of every seed: the synthetic sets have different people."""
_TWO_PEOPLE_EVERY = 8


@dataclass(frozen=True)
class SyntheticAffWild2Spec:
    """How large a set is, and how it is made. Equal specs give equal files.

    >>> SyntheticAffWild2Spec(train_videos=2, validation_videos=1).frames
    110
    """

    train_videos: int = 44
    validation_videos: int = 16
    frames: int = 110
    """Frames of a video (number)."""
    fps: int = 12
    """Frames per second."""
    size: int = 48
    """Side of a frame (pixels)."""
    seed: int = 0
    story: AffectStory = field(default_factory=AffectStory)

    def __post_init__(self) -> None:
        check_range("train_videos", self.train_videos, 1, 9999)
        check_range("validation_videos", self.validation_videos, 1, 9999)
        check_range("frames", self.frames, 1, 99_999)
        check_range("fps", self.fps, 2, 240)
        check_range("size", self.size, 8, 4096)


@dataclass(frozen=True)
class Track:
    """One person in a video.

    >>> spec = SyntheticAffWild2Spec(train_videos=1, validation_videos=1, frames=2, size=8)
    >>> split, video, (track,) = next(simulate_videos(spec))
    >>> track.name, track.frames.shape
    ('video1', (2, 8, 8, 3))

    Attributes:
        name: of the track: the video's name, with ``_left`` or ``_right`` if it shows two people.
        feelings: the hidden courses.
        frames: ``(T, size, size, 3)`` uint8.
        units: ``(T, 9)`` action units.
        undetected: ``(T,)`` bool, no face found, so there is no picture.
        invalid: ``(T,)`` bool, no valid annotation.
        voice: ``(time,)``.
    """

    name: str
    feelings: Feelings
    frames: NDArray[np.uint8]
    units: NDArray[np.float64]
    undetected: NDArray[np.bool_]
    invalid: NDArray[np.bool_]
    voice: Course


def simulate_videos(spec: SyntheticAffWild2Spec) -> Iterator[tuple[str, str, list[Track]]]:
    """Yield the split, the name and the tracks of every video.

    Each track has random generators of its own, seeded by set, video and track: a larger set begins with the same
    videos.

    >>> spec = SyntheticAffWild2Spec(train_videos=1, validation_videos=1, frames=2, size=8)
    >>> [(split, video) for split, video, tracks in simulate_videos(spec)]
    [('Train_Set', 'video1'), ('Validation_Set', '2-12-640x360')]
    """
    for index in range(spec.train_videos + spec.validation_videos):
        split = "Train_Set" if index < spec.train_videos else "Validation_Set"
        video = f"video{index + 1}" if index % 3 == 0 else f"{index + 1}-{spec.fps}-640x360"
        suffixes = ("_left", "_right") if index % _TWO_PEOPLE_EVERY == _TWO_PEOPLE_EVERY - 1 else ("",)
        yield split, video, [_simulate_track(spec, index, t, video + suffix) for t, suffix in enumerate(suffixes)]


def write_synthetic_affwild2(root: Path, spec: SyntheticAffWild2Spec | None = None) -> Path:
    """Write the set into the folder ``root`` and return ``root``.

    The folder ``latents``, which no reader opens, has the hidden feelings and action units of each frame.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     root = write_synthetic_affwild2(Path(folder), SyntheticAffWild2Spec(1, 1, frames=2, size=8))
    ...     sorted(path.name for path in root.iterdir())
    ['annotations', 'audio', 'cropped_aligned', 'latents']
    """
    spec = SyntheticAffWild2Spec() if spec is None else spec
    annotations = root / "annotations" / "VA_Estimation_Challenge"
    count = spec.train_videos + spec.validation_videos
    for split, video, tracks in tqdm(
        simulate_videos(spec), "making Aff-Wild2", count, unit="video", leave=False, disable=None
    ):
        for track in tracks:
            folder = root / "cropped_aligned" / track.name
            write_frames(folder, "{:05d}.jpg", track.frames, leave_out=track.undetected)
            write_lines(annotations / split / f"{track.name}.txt", _annotation(track))
            write_lines(root / "latents" / f"{track.name}.csv", _latents(track))
        _write_voice(root / "audio" / f"{video}.wav", sum(track.voice for track in tracks))
    return root


class SyntheticAffWild2:
    """The synthetic set: made in the cache on first use, then read like the real one.

    >>> SyntheticAffWild2.open(Path("mydata"), DataConfig())
    Traceback (most recent call last):
    ValueError: synthetic-affwild2 is made in the cache and takes no path, got mydata; use affwild2:mydata.
    """

    @classmethod
    def open(cls, path: Path | None, config: DataConfig) -> AffWild2:
        """Open the set; make it if the cache does not have it.

        Raises:
            ValueError: a path was given, or the cache cannot be written.
        """
        if path is not None:
            raise ValueError(
                f"synthetic-affwild2 is made in the cache and takes no path, got {path}; use affwild2:{path}."
            )
        spec = SyntheticAffWild2Spec()
        name = f"affwild2-seed{spec.seed}-{recipe_digest(spec, *_MAKERS)}"
        folder = cached_folder(config.cache_dir, name, lambda root: write_synthetic_affwild2(root, spec))
        dataset = AffWild2.read_layout(folder, config, name="synthetic-affwild2")
        dataset.generated = name
        return dataset


def _simulate_track(spec: SyntheticAffWild2Spec, video: int, track: int, name: str) -> Track:
    def generator(channel: int) -> np.random.Generator:
        return np.random.default_rng([spec.seed, _SET, video + 1, track + 1, channel + 1])

    feelings = draw_feelings(generator(0), spec.frames, spec.fps, spec.story)
    frames, units = film_feelings(feelings, generator(1), spec.fps, spec.size, spec.story)
    rng = generator(2)
    undetected = detector_gaps(rng, spec.frames, spec.story)
    invalid = rng.random(spec.frames) < spec.story.invalid
    voice = speak(feelings, generator(3), spec.fps, spec.story)
    return Track(name, feelings, frames, units, undetected, invalid, voice)


def _annotation(track: Track) -> list[str]:
    lines = ["valence,arousal"]
    for valence, arousal, invalid in zip(track.feelings.valence, track.feelings.arousal, track.invalid, strict=True):
        lines.append(f"{INVALID:g},{INVALID:g}" if invalid else f"{valence:.3f},{arousal:.3f}")
    return lines


def _latents(track: Track) -> list[str]:
    feelings = (track.feelings.valence, track.feelings.arousal, track.feelings.talking)
    rows = np.column_stack([*feelings, track.units])
    return [
        ",".join(("valence", "arousal", "talking", *ACTION_UNITS)),
        *(",".join(f"{value:.4f}" for value in row) for row in rows),
    ]


def _write_voice(path: Path, voice: Course) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, AUDIO_HZ, np.rint(np.clip(voice, -1.0, 1.0) * 32767).astype(np.int16))
