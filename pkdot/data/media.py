"""Frames and sound on the disk."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import wavfile

from pkdot.data.disk import FILM_MB, PICTURE_MB, SOUND_MB, decoding, file_status
from pkdot.data.tables import LARGEST

JPEG_QUALITY = 88
PICTURE_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "WEBP")
"""What is decoded, whatever a file is called: rasters only. Of the others one starts a program (EPS: Ghostscript)."""
MOST_PIXELS = 100_000_000
"""Of a picture, or of a frame of a film."""
FILM_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts"
"""What FFmpeg may take a film for: playlists and their like would have it open other files and addresses."""
SOUND_HZ = (100, 1_000_000)
"""Lowest and highest rate of a sound (samples per second)."""


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
        ValueError: a file is no picture, is too large or stops in the middle, with its name.
    """
    frames = np.empty((3, len(files), size, size), np.uint8)
    for index, file in enumerate(files):
        if index and file == files[index - 1]:
            frames[:, index] = frames[:, index - 1]
            continue
        file_status(file, PICTURE_MB)
        with decoding(file, f"a whole picture ({', '.join(PICTURE_FORMATS)})"), _open_picture(file) as picture:
            _check_pixels(picture.width, picture.height)
            frames[:, index] = _fit(picture, size)
    return frames


def _open_picture(file: Path) -> Image.Image:
    # Pillow's own limit is twice as high, warns before it refuses, and is there for the whole process.
    pillows, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(file, formats=PICTURE_FORMATS)
    finally:
        Image.MAX_IMAGE_PIXELS = pillows


def _check_pixels(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ValueError(f"got {width} x {height} = {width * height} pixels, and the limit is {MOST_PIXELS}")


def read_mp4(path: Path, wanted: int, size: int) -> NDArray[np.uint8]:
    """``wanted`` evenly spaced frames of a film, resized to ``(3, wanted, size, size)``.

    Raises:
        ValueError: PyAV is not installed, or the file is no whole film.
    """
    file_status(path, FILM_MB)
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"{path}: reading films needs PyAV (pip install 'pkdot[video]'), or frames in video_frames/"
        ) from error
    with decoding(path, "a whole film with a video stream"), path.open("rb") as file:
        available = sum(1 for _ in _frames_of(av, file))
        if not available:
            raise ValueError("it has no frame")
        places = evenly_spaced(available, wanted).tolist()
        file.seek(0)
        # A film of any length is decoded twice rather than held in memory.
        chosen = set(places)
        decoded = enumerate(_frames_of(av, file))
        pictures = {place: _fit(frame.to_image(), size) for place, frame in decoded if place in chosen}
        return np.stack([pictures[place] for place in places], axis=1)


def _frames_of(av: Any, file: IO[bytes]) -> Iterator[Any]:
    with av.open(file, options={"format_whitelist": FILM_FORMATS}) as container:
        for frame in container.decode(video=0):
            _check_pixels(frame.width, frame.height)
            yield frame


def _fit(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    picture = _eight_bits(picture).convert("RGB")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture).transpose(2, 0, 1)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Of 16 bits the upper eight: Pillow would make everything above 255 white."""
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    values = np.asarray(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("expected 8 or 16 bits a channel; save other numbers as .npy")
    return Image.fromarray((values >> 8).astype(np.uint8))


def read_wav(path: Path) -> tuple[int, NDArray[np.float32]]:
    """Samples per second, and the recording ``(time,)`` in [-1, 1]; several channels become their mean.

    Raises:
        ValueError: the file is no WAV file, stops in the middle, is empty, has a rate that no recording has or holds
            values that are not finite, with its name.
    """
    file_status(path, SOUND_MB)
    with decoding(path, "a whole WAV file"), warnings.catch_warnings():
        # Editors leave chunks of their own in the file, which is fine; an early end is not.
        warnings.simplefilter("ignore", wavfile.WavFileWarning)
        warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
        rate, sound = wavfile.read(path)
    check_sound(path, rate, sound)
    if sound.dtype == np.uint8:
        sound = (sound.astype(np.float32) - 128.0) / 128.0
    elif sound.dtype.kind == "i":
        sound = sound.astype(np.float32) / -float(np.iinfo(sound.dtype).min)
    sound = sound.astype(np.float32)
    return rate, sound if sound.ndim == 1 else sound.mean(axis=1)


def check_sound(path: Path, rate: int, sound: NDArray[Any]) -> None:
    """Raise ``ValueError`` naming the file unless a recording has a rate, a length and finite values."""
    slowest, fastest = SOUND_HZ
    if not slowest <= rate <= fastest:
        raise ValueError(f"{path}: expected {slowest} to {fastest} samples per second, got {rate}.")
    if not sound.size:
        raise ValueError(f"{path}: expected a recording, got one without a sample.")
    if sound.dtype.kind == "f" and not (np.abs(sound) <= LARGEST).all():
        raise ValueError(f"{path}: expected finite samples, got NaN, infinity or a number beyond {LARGEST:g}.")


def write_frames(
    folder: Path, name: str, frames: NDArray[np.uint8], *, leave_out: NDArray[np.bool_] | None = None
) -> None:
    """Write ``(T, height, width, 3)`` as JPEG files; ``name`` is a format of the number, which counts from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, start=1):
        if leave_out is None or not leave_out[number - 1]:
            Image.fromarray(frame).save(folder / name.format(number), quality=JPEG_QUALITY)
