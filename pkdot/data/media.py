"""Frames and sound on the disk."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import wavfile
from scipy.signal import resample_poly

JPEG_QUALITY = 88


def evenly_spaced(available: int, wanted: int) -> NDArray[np.int64]:
    """``wanted`` of the indices ``0 .. available - 1``, first and last included; some repeat if there are too few.

    One index is the middle one.
    """
    if wanted == 1:
        return np.array([available // 2])
    return np.linspace(0, available - 1, wanted).round().astype(np.int64)


def read_frames(files: Sequence[Path], size: int) -> NDArray[np.uint8]:
    """Pictures resized to ``(3, len(files), size, size)``.

    Raises:
        ValueError: a file is no picture or stops in the middle, with its name.
    """
    frames = np.empty((3, len(files), size, size), np.uint8)
    for index, file in enumerate(files):
        if index and file == files[index - 1]:
            frames[:, index] = frames[:, index - 1]
            continue
        try:
            with Image.open(file) as picture:
                frames[:, index] = _fit(picture, size)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{file}: expected a whole picture (JPEG or PNG): {error}") from error
    return frames


def read_mp4(path: Path, wanted: int, size: int) -> NDArray[np.uint8]:
    """``wanted`` evenly spaced frames of a film, resized to ``(3, wanted, size, size)``.

    Raises:
        ValueError: PyAV is not installed, or the file is no film.
    """
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"{path}: reading films needs PyAV (pip install 'pkdot[video]'), or frames in video_frames/"
        ) from error
    try:
        with av.open(str(path)) as container:
            pictures = [_fit(frame.to_image(), size) for frame in container.decode(video=0)]
    except (OSError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: expected a film with a video stream: {error}") from error
    if not pictures:
        raise ValueError(f"{path}: expected a film with a video stream, it has no frame")
    return np.stack([pictures[i] for i in evenly_spaced(len(pictures), wanted)], axis=1)


def _fit(picture: Any, size: int) -> NDArray[np.uint8]:
    picture = picture.convert("RGB")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture).transpose(2, 0, 1)


def read_wav(path: Path, rate_hz: int, samples: int, *, end: float) -> NDArray[np.float32]:
    """``samples`` samples in [-1, 1] that end at the share ``end`` of a recording; silence stands before its start.

    Channels are averaged. Another rate is resampled.

    Raises:
        ValueError: the file is no whole PCM or float WAV file, or has a value that is not finite.
    """
    try:
        rate, sound = wavfile.read(path)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected a WAV file: {error}") from error
    last = round(end * len(sound))
    # What the resampling filter sees beyond the window, so that its edge leaves no trace.
    margin = 0 if rate == rate_hz else 64
    wanted = math.ceil(samples * rate / rate_hz) + margin
    piece = _mono(sound[max(0, last - wanted) : last])
    if not np.isfinite(piece).all():
        raise ValueError(f"{path}: expected finite values, got NaN or infinity.")
    if rate != rate_hz:
        common = math.gcd(rate, rate_hz)
        piece = resample_poly(piece, rate_hz // common, rate // common)
    piece = piece[-samples:]
    return np.pad(piece, (samples - len(piece), 0)).astype(np.float32)


def _mono(sound: NDArray[Any]) -> NDArray[np.float64]:
    if sound.dtype.kind == "u":
        sound = sound.astype(np.float64) - 128.0
        full_scale = 128.0
    else:
        full_scale = 1.0 if sound.dtype.kind == "f" else float(-np.iinfo(sound.dtype).min)
    mixed = sound.astype(np.float64) / full_scale
    return mixed if mixed.ndim == 1 else mixed.mean(axis=1)


def write_frames(
    folder: Path, name: str, frames: NDArray[np.uint8], *, leave_out: NDArray[np.bool_] | None = None
) -> None:
    """Write ``(T, height, width, 3)`` as JPEG files; ``name`` is a format of the number, which counts from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, start=1):
        if leave_out is None or not leave_out[number - 1]:
            Image.fromarray(frame).save(folder / name.format(number), quality=JPEG_QUALITY)
