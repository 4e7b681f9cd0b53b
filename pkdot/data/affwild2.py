"""Read Aff-Wild2, the valence-arousal track, in the layout in which its owners deliver it.

::

    cropped_aligned/<track>/00001.jpg ...                             frames without a face are missing
    <any edition>/VA_Estimation_Challenge/{Train_Set,Validation_Set}/<track>.txt
    audio/<video>.wav                                                 extracted from the videos by the user

A track is the face of one person: the name of the video, with ``_left`` or ``_right`` where it shows two.
"""

import bisect
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor

from pkdot.config import DataConfig
from pkdot.data.batch import Modality, Record, Schema
from pkdot.data.disk import Bounds, folder_at, something_at, visible
from pkdot.data.media import read_frames, read_wav
from pkdot.data.tables import read_numbers
from pkdot.tasks import Task

AUDIO_HZ = 16_000
AUDIO_SAMPLES = 16_000
INVALID = -5.0
TARGETS = ("valence", "arousal")

_TRACKS = ("VA_Estimation_Challenge", "VA_Set")
_FRAME = re.compile(r"[0-9]{5}\.jpg")
_SPLITS = ("Train_Set", "Validation_Set")


@dataclass(frozen=True)
class Window:
    """A sample: the frames up to number ``last`` (from 1) of a track that has ``length`` frames.

    >>> Window("video7_left", last=24, length=110)
    Window(track='video7_left', last=24, length=110)
    """

    track: str
    last: int
    length: int


class AffWild2:
    """Windows of a face video with the valence and arousal of their last frame: audio is privileged.

    A window has ``config.frames`` consecutive frames, and a new one starts every half window. Windows whose last
    frame has no valid annotation are left out. The audio is the second before the end of the last frame.

    The splits are by video. The labels of the official test set are not public, so the official validation set is
    the test split. A share ``config.val`` of the official training videos is the validation split.

    >>> AffWild2.open(Path("nowhere"), DataConfig())
    Traceback (most recent call last):
    ValueError: nowhere: no such folder.
    """

    def __init__(self, bounds: Bounds, annotations: dict[str, list[Path]], config: DataConfig, name: str):
        self.folder = bounds.folder
        self.bounds = bounds
        self.generated = ""
        self.annotations = annotations
        self.config = config
        self.schema = Schema(
            name=name,
            task=Task("regression", TARGETS),
            modalities={
                "video": Modality("video", (3, config.frames, config.image_size, config.image_size)),
                "audio": Modality("audio", (AUDIO_SAMPLES,), AUDIO_HZ),
            },
            prevalent=("video",),
            privileged=("audio",),
        )
        training = {video_of(file.stem) for file in annotations["Train_Set"]}
        validation = _validation_videos(training, config)
        self.records: Sequence[Record]
        self.windows: list[Window] = []
        records = []
        for part, files in annotations.items():
            for file in files:
                video = video_of(file.stem)
                split = "test" if part == "Validation_Set" else "val" if video in validation else "train"
                labels = _read_annotation(file)
                for last in _labelled_ends(labels, config.frames):
                    target = tuple(float(value) for value in labels[last - 1])
                    records.append(Record(f"{file.stem}/{last:05d}", video, target, split))
                    self.windows.append(Window(file.stem, last, len(labels)))
        if not records:
            raise ValueError(f"{bounds.folder}: expected windows that end with an annotated frame, got none.")
        self.records = records

    @classmethod
    def open(cls, path: Path | None, config: DataConfig) -> "AffWild2":
        """Open the folder that holds cropped_aligned and the annotations.

        Raises:
            ValueError: the layout is another one, or an annotation is wrong, with its line and field.
        """
        if path is None:
            raise ValueError("affwild2 needs the folder of the data set: --data affwild2:PATH.")
        return cls.read_layout(path, config, name="affwild2")

    @classmethod
    def read_layout(cls, path: Path, config: DataConfig, *, name: str) -> "AffWild2":
        """As :meth:`open`, with a given name in the schema."""
        bounds = Bounds(folder_at(path), config.outside)
        folder = _annotation_folder(path)
        annotations = {}
        for split in _SPLITS:
            names = visible(folder / split, ".txt") if something_at(folder / split) else []
            if not names:
                raise ValueError(f"{folder / split}: expected at least one annotation (<video>.txt), found none.")
            annotations[split] = [bounds.check(folder / split / name) for name in names]
        return cls(bounds, annotations, config, name)

    def read(self, index: int) -> dict[str, Tensor]:
        """Read ``video`` uint8 ``(3, T, H, W)`` and ``audio`` float32 ``(16000,)``, if their files exist."""
        window = self.windows[index]
        readings = {"video": self._video(window), "audio": self._audio(window)}
        return {name: torch.from_numpy(reading) for name, reading in readings.items() if reading is not None}

    def contents(self) -> Iterator[Path]:
        """Yield every file that the data set is read from: annotation and pictures of each track, then the sounds."""
        sounds: dict[Path, None] = {}
        for file in (file for files in self.annotations.values() for file in files):
            yield file
            yield from (self.bounds.listed(self._frame(file.stem, name)) for name in self._frames(file.stem))
            sounds[self._sound(file.stem)] = None
        yield from (self.bounds.listed(sound) for sound in sounds if something_at(sound))

    def _frames(self, track: str) -> list[str]:
        """The names of a track's pictures, in order; empty if the track has no folder."""
        folder = self.folder / "cropped_aligned" / track
        # Hundreds of windows list the same folder, and names are listed much faster than paths.
        names = visible(folder, ".jpg") if something_at(folder) else []
        wrong = next((name for name in names if not _FRAME.fullmatch(name)), None)
        if wrong is not None:
            raise ValueError(f"{folder / wrong}: expected a picture named by its frame's number, 00001.jpg.")
        return names

    def _frame(self, track: str, name: str) -> Path:
        return self.bounds.check(self.folder / "cropped_aligned" / track / name)

    def _sound(self, track: str) -> Path:
        return self.folder / "audio" / f"{video_of(track)}.wav"

    def _video(self, window: Window) -> NDArray[np.uint8] | None:
        names = self._frames(window.track)
        if not names:
            return None
        wanted = range(window.last - self.config.frames + 1, window.last + 1)
        # If a frame has no picture because no face was found, take the nearest earlier one.
        places = [max(bisect.bisect_right(names, f"{max(number, 1):05d}.jpg") - 1, 0) for number in wanted]
        return read_frames([self._frame(window.track, names[place]) for place in places], self.config.image_size)

    def _audio(self, window: Window) -> NDArray[np.float32] | None:
        path = self._sound(window.track)
        if not something_at(path):
            return None
        rate, sound = read_wav(self.bounds.check(path))
        # Annotations and sound cover the same recording, so the frame's relative position is the same in both.
        return _sound_before(sound, round(window.last / window.length * len(sound)), rate)


def video_of(track: str) -> str:
    """The video that a track belongs to.

    >>> video_of("video7_left"), video_of("12-24-640x360")
    ('video7', '12-24-640x360')
    """
    return track.removesuffix("_left").removesuffix("_right")


def _annotation_folder(path: Path) -> Path:
    found = sorted(
        folder
        for depth in ("", "*/", "*/*/")
        for name in _TRACKS
        for folder in path.glob(depth + name)
        if folder.is_dir()
    )
    if len(found) == 1:
        return found[0]
    several = f"several editions: {', '.join(str(folder) for folder in found)}; keep one" if found else "none"
    raise ValueError(f"{path}: expected the annotations in <edition>/{_TRACKS[0]}/Train_Set, found {several}.")


def _read_annotation(path: Path) -> NDArray[np.float64]:
    labels = read_numbers(path, TARGETS, ",")
    wrong = ((labels < -1) | (labels > 1)) & (labels != INVALID)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"{path}, line {row + 2}, field {TARGETS[column]}: got {labels[row, column]:g}, "
            f"expected a value in [-1, 1], or {INVALID:g} where there is none."
        )
    return labels


def _labelled_ends(labels: NDArray[np.float64], frames: int) -> list[int]:
    """The numbers (from 1) of the windows' last frames."""
    ends = range(min(frames, len(labels)), len(labels) + 1, max(1, frames // 2))
    return [end for end in ends if not (labels[end - 1] == INVALID).any()]


def _sound_before(sound: NDArray[np.float32], end: int, rate: int) -> NDArray[np.float32]:
    """The second before sample ``end``, at 16 kHz, padded with silence at the start of the recording."""
    piece = np.pad(sound[max(0, end - rate) : end], (max(0, rate - end), 0))
    if rate == AUDIO_HZ:
        return piece
    common = math.gcd(rate, AUDIO_HZ)
    resampled: NDArray[np.float32] = resample_poly(piece, AUDIO_HZ // common, rate // common)[:AUDIO_SAMPLES]
    return resampled.astype(np.float32)


def _validation_videos(videos: set[str], config: DataConfig) -> set[str]:
    """A share of the videos, chosen by a hash of their names, so that few change places when a video is added."""
    ranked = sorted(videos, key=lambda video: hashlib.sha256(f"{config.split_seed}:{video}".encode()).digest())
    return set(ranked[: math.ceil(config.val * len(ranked))])
