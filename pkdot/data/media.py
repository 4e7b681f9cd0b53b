"""Read and write pictures, films and sound."""

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
"""Picture formats that are decoded, whatever the file's name. Others are unsafe: EPS, for one, starts Ghostscript."""
MOST_PIXELS = 100_000_000
"""Largest number of pixels of a picture, or of a frame of a film."""
FILM_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts"
"""Film formats that FFmpeg may decode. Playlists are not among them: they make it open other files and addresses."""
SOUND_HZ = (100, 1_000_000)
"""Lowest and highest sampling rate of a sound (samples per second)."""


def evenly_spaced(available: int, wanted: int) -> NDArray[np.int64]:
    """``wanted`` evenly spaced indices from 0 to ``available - 1``, both included; a single one is in the middle.

    Indices repeat if there are fewer than wanted.

    >>> evenly_spaced(10, 4), evenly_spaced(2, 4), evenly_spaced(9, 1)
    (array([0, 3, 6, 9]), array([0, 0, 1, 1]), array([4]))
    """
    if wanted == 1:
        return np.array([available // 2])
    return np.linspace(0, available - 1, wanted).round().astype(np.int64)


def read_frames(files: Sequence[Path], size: int) -> NDArray[np.uint8]:
    """Read pictures and resize them: uint8 ``(3, len(files), size, size)``.

    Raises:
        ValueError: a file is no picture, is too large or is cut short; the message names it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "grey.png")
        ...     Image.new("L", (20, 10), 128).save(path)
        ...     read_frames([path, path], size=8).shape
        (3, 2, 8, 8)
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
    # Pillow's own limit is another one and global to the process; ours is checked in _check_pixels.
    pillows, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(file, formats=PICTURE_FORMATS)
    finally:
        Image.MAX_IMAGE_PIXELS = pillows


def _check_pixels(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ValueError(f"it has {width} x {height} = {width * height} pixels, expected at most {MOST_PIXELS}")


def read_mp4(path: Path, wanted: int, size: int) -> NDArray[np.uint8]:
    """Read ``wanted`` evenly spaced frames of a film and resize them: uint8 ``(3, wanted, size, size)``.

    Raises:
        ValueError: PyAV is not installed, or the file is no film or is cut short.

    Example:
        >>> read_mp4(Path("nowhere.mp4"), wanted=12, size=48)
        Traceback (most recent call last):
        ValueError: nowhere.mp4: no such file.
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
        # The film is decoded twice: a long one would not fit into RAM.
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
    """The upper eight of 16 bits. Pillow would turn every value above 255 into white."""
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    values = np.asarray(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("expected 8 or 16 bits a channel; save other numbers as .npy")
    return Image.fromarray((values >> 8).astype(np.uint8))


def read_wav(path: Path) -> tuple[int, NDArray[np.float32]]:
    """Read a WAV file: samples per second, and the sound ``(time,)`` float32 in [-1, 1], the mean of its channels.

    Raises:
        ValueError: the file is no WAV file, is cut short or empty, has an impossible rate or values that are not
            finite; the message names it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "voice.wav")
        ...     wavfile.write(path, 16_000, np.array([0, 16384, -32768], np.int16))
        ...     read_wav(path)
        (16000, array([ 0. ,  0.5, -1. ], dtype=float32))
    """
    file_status(path, SOUND_MB)
    with decoding(path, "a whole WAV file"), warnings.catch_warnings():
        # Unknown chunks are fine, many editors add them; a file that ends early is not.
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
    """Check the rate, the length and the values of a sound. Raises ``ValueError`` that names the file.

    >>> check_sound(Path("a.wav"), 16_000, np.zeros(0))
    Traceback (most recent call last):
    ValueError: a.wav: expected a sound of at least one sample, got none.
    """
    slowest, fastest = SOUND_HZ
    if not slowest <= rate <= fastest:
        raise ValueError(f"{path}: expected {slowest} to {fastest} samples per second, got {rate}.")
    if not sound.size:
        raise ValueError(f"{path}: expected a sound of at least one sample, got none.")
    if sound.dtype.kind == "f" and not (np.abs(sound) <= LARGEST).all():
        raise ValueError(f"{path}: expected finite samples, got NaN, infinity or a number beyond {LARGEST:g}.")


def write_frames(
    folder: Path, name: str, frames: NDArray[np.uint8], *, leave_out: NDArray[np.bool_] | None = None
) -> None:
    """Write frames as JPEG files.

    Args:
        folder: made if it does not exist.
        name: format of the file names, for the number of the frame (from 1), such as ``"img_{:05d}.jpg"``.
        frames: ``(T, height, width, 3)``.
        leave_out: ``(T,)`` bool, the frames that are not written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_frames(Path(folder), "{:02d}.jpg", np.zeros((2, 8, 8, 3), np.uint8))
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['01.jpg', '02.jpg']
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, start=1):
        if leave_out is None or not leave_out[number - 1]:
            Image.fromarray(frame).save(folder / name.format(number), quality=JPEG_QUALITY)
