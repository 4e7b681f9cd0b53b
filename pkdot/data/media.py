"""Frames and sound on the disk."""

import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import wavfile

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
            film: Any = container.decode(video=0)
            pictures = [_fit(frame.to_image(), size) for frame in film]
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


def read_wav(path: Path) -> tuple[int, NDArray[np.float32]]:
    """Samples per second, and the recording ``(time,)`` in [-1, 1]; several channels become their mean.

    Raises:
        ValueError: the file is no WAV file, stops in the middle or holds values that are not finite, with its name.
    """
    try:
        with warnings.catch_warnings():
            # Editors leave chunks of their own in the file, which is fine; an early end is not.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
            rate, sound = wavfile.read(path)
    except (OSError, ValueError, EOFError, struct.error, wavfile.WavFileWarning) as error:
        raise ValueError(f"{path}: expected a whole WAV file: {error}") from error
    if not np.isfinite(sound).all():
        raise ValueError(f"{path}: expected finite samples, got NaN or infinity.")
    if sound.dtype == np.uint8:
        sound = (sound.astype(np.float32) - 128.0) / 128.0
    elif sound.dtype.kind == "i":
        sound = sound.astype(np.float32) / -float(np.iinfo(sound.dtype).min)
    sound = sound.astype(np.float32)
    return rate, sound if sound.ndim == 1 else sound.mean(axis=1)


def write_frames(
    folder: Path, name: str, frames: NDArray[np.uint8], *, leave_out: NDArray[np.bool_] | None = None
) -> None:
    """Write ``(T, height, width, 3)`` as JPEG files; ``name`` is a format of the number, which counts from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, start=1):
        if leave_out is None or not leave_out[number - 1]:
            Image.fromarray(frame).save(folder / name.format(number), quality=JPEG_QUALITY)
