"""Read one modality of a sample, from a file or from a row of an array, in the shape that models receive."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray
from torch import Tensor

from pkdot.config import DataConfig
from pkdot.data.batch import Kind, Modality
from pkdot.data.disk import SOUND_MB, Bounds, brief, by_number, decoding, file_status, read_text, visible
from pkdot.data.media import check_sound, evenly_spaced, read_frames, read_mp4, read_wav
from pkdot.data.tables import FINITE, LARGEST, to_number

LAYOUTS: dict[Kind, str] = {
    "vector": "(d,)",
    "signal": "(channels, time)",
    "image": "(H, W, C)",
    "video": "(T, H, W, C)",
    "audio": "(time,)",
}
"""The axes of one sample on the disk, by kind."""

MOST_NUMBERS = 2**26
"""Largest number of values in one sample: 256 MB as float32, and a batch holds dozens of samples."""
MOST_CHANNELS = 2**20
"""Largest number of channels of a sample: the first layer of a model has weights for each channel."""

_HEADERS = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}
TABLES, SOUNDS, FILMS = (".csv", ".tsv", ".txt"), (".wav", ".flac", ".ogg", ".mp3"), (".mp4", ".avi", ".mkv", ".mov")

Array = NDArray[np.generic]


def axes_of(kind: Kind) -> int:
    """The number of axes of a sample of this kind.

    >>> axes_of("vector"), axes_of("video")
    (1, 4)
    """
    return len(LAYOUTS[kind].strip("(,)").split(","))


class MappedArray:
    """A modality in one .npy array with a row for each sample. It is memory-mapped: only samples in use are read.

    Raises:
        ValueError: the file is no array of numbers, or has the wrong number of axes or rows, or an empty axis.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "gyroscope.npy")
        ...     np.save(path, np.arange(6.0).reshape(3, 2))
        ...     MappedArray(path, "vector", samples=3)[1]
        tensor([2., 3.])
    """

    def __init__(self, path: Path, kind: Kind, samples: int) -> None:
        self.path, self.kind, self.samples = path, kind, samples
        self._array = array = _load(path)
        layout = f"(n, {LAYOUTS[kind].strip('(,)')})"
        if array.ndim != axes_of(kind) + 1:
            raise ValueError(f"{path}: expected {layout} for kind {kind!r}, got shape {array.shape}.")
        if array.shape[0] != samples:
            raise ValueError(
                f"{path}: expected {samples} rows, one for each line of samples.csv, got {array.shape[0]}."
            )
        _check_numbers(array, array.shape[1:], kind, path)

    def __getitem__(self, index: int | Sequence[int]) -> Tensor:
        """One sample, or several stacked."""
        return to_model_layout(self._array[index], self.kind)

    def __reduce__(self) -> tuple[type["MappedArray"], tuple[Path, Kind, int]]:
        # A pickled memory map would carry the whole array to every worker.
        return MappedArray, (self.path, self.kind, self.samples)


def read_file(
    path: Path, kind: Kind, rate_hz: float | None, config: DataConfig, bounds: Bounds | None = None
) -> Tensor:
    """Read one modality of one sample, in the shape that models receive.

    Any kind may be a ``.npy`` file with the axes of :data:`LAYOUTS`. The other formats:

    - vector: a table of numbers, read row by row; a header line is skipped.
    - signal: a table with a line for each time step and a column for each channel; a header line is skipped.
    - image: a picture, resized to ``config.image_size``.
    - video: a film, or a folder of pictures in the order of the numbers in their names; ``config.frames`` evenly
      spaced frames are read and resized.
    - audio: a sound file; the mean of its channels.

    Args:
        path: the file or folder.
        kind: of the modality.
        rate_hz: the sampling rate that a sound must have; None for any.
        config: gives ``frames`` and ``image_size``.
        bounds: where the pictures of a folder may lie; None for anywhere.

    Raises:
        ValueError: the file cannot be read, or has the wrong format or shape; the message names it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "watch.csv")
        ...     _ = path.write_text("x,y" + chr(10) + "1,2" + chr(10) + "3,4")
        ...     read_file(path, "signal", None, DataConfig())
        tensor([[1., 3.],
                [2., 4.]])
    """
    if path.suffix.lower() == ".npy":
        return _read_npy(path, kind)
    match kind:
        case "vector":
            return torch.from_numpy(_read_table(path).reshape(-1))
        case "signal":
            return torch.from_numpy(np.ascontiguousarray(_read_table(path).T))
        case "image":
            return torch.from_numpy(read_frames([path], config.image_size)[:, 0])
        case "video":
            return torch.from_numpy(_read_clip(path, config, bounds))
        case "audio":
            return torch.from_numpy(_read_sound(path, rate_hz))


def to_model_layout(sample: Array, kind: Kind) -> Tensor:
    """Convert a sample to the axes of a model: ``(H, W, C)`` to ``(C, H, W)``, ``(T, H, W, C)`` to ``(C, T, H, W)``.

    Axes before those of a sample stay where they are. The result is float32; images and videos of uint8 stay uint8.

    >>> to_model_layout(np.zeros((5, 8, 8, 3), np.uint8), "video").shape
    torch.Size([3, 5, 8, 8])
    """
    if kind in ("image", "video"):
        sample = np.moveaxis(sample, -1, -axes_of(kind))
    dtype = np.uint8 if kind in ("image", "video") and sample.dtype == np.uint8 else np.float32
    with np.errstate(over="ignore"):  # a value that becomes infinite is refused later, with its position
        return torch.from_numpy(np.array(sample, dtype=dtype, order="C"))


def is_sound(rows: Tensor, modality: Modality) -> bool:
    """Whether samples ``(n, *shape)`` have their modality's shape and sane numbers (frames: within [0, 1]).

    >>> age = Modality("vector", (2,))
    >>> is_sound(torch.zeros(5, 2), age), is_sound(torch.zeros(5, 3), age), is_sound(torch.full((5, 2), 1e30), age)
    (True, False, False)
    """
    if tuple(rows.shape[1:]) != modality.shape:
        return False
    if not rows.is_floating_point() or not rows.numel():
        return True
    low, high = rows.aminmax()
    least, most = (0.0, 1.0) if modality.kind in ("image", "video") else (-LARGEST, LARGEST)
    return bool((low >= least) & (high <= most))  # NaN fails


def check_values(values: Tensor, modality: Modality, where: str) -> None:
    """Check one modality of one sample: its shape, finite numbers, and frames within [0, 1].

    Raises:
        ValueError: one of these is wrong. The message begins with ``where``, the origin of the sample.

    Example:
        >>> check_values(torch.tensor([0.0, torch.nan]), Modality("vector", (2,)), "age.npy, row 7")
        Traceback (most recent call last):
        ValueError: age.npy, row 7: expected finite numbers, at most 1e+15, got nan at (1,).
    """
    if is_sound(values.unsqueeze(0), modality):
        return
    if tuple(values.shape) != modality.shape:
        raise ValueError(f"{where}: expected shape {modality.shape}, like the first sample, got {tuple(values.shape)}.")
    wrong = ~(values.abs() <= LARGEST)
    if bool(wrong.any()):
        position = tuple(int(i) for i in wrong.nonzero()[0])
        got = float(values[position])
        raise ValueError(f"{where}: expected finite numbers, at most {LARGEST:g}, got {got:g} at {position}.")
    low, high = float(values.min()), float(values.max())
    raise ValueError(f"{where}: expected uint8, or numbers in [0, 1], got numbers from {low:.4g} to {high:.4g}.")


def _load(path: Path) -> Array:
    """The memory-mapped array. Its header is checked first: a damaged one could ask for any amount of RAM."""
    size = file_status(path).st_size
    with decoding(path, "a readable .npy array of numbers, as numpy.save writes it"), path.open("rb") as file:
        version = read_magic(file)
        if version not in _HEADERS:
            raise ValueError("it has an unknown version")
        shape, _, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        told = file.tell() + math.prod(shape) * dtype.itemsize
    if told != size:
        raise ValueError(f"{path}: expected {told} bytes for shape {shape} of {dtype}, as its header says, got {size}.")
    with decoding(path, "a readable .npy array of numbers"):
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _read_npy(path: Path, kind: Kind) -> Tensor:
    array = _load(path)
    if array.ndim != axes_of(kind):
        raise ValueError(f"{path}: expected {LAYOUTS[kind]} for kind {kind!r}, got shape {array.shape}.")
    _check_numbers(array, array.shape, kind, path)
    return to_model_layout(array, kind)


def _check_numbers(array: Array, sample: tuple[int, ...], kind: Kind, path: Path) -> None:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}: expected numbers, got dtype {array.dtype}.")
    if kind in ("image", "video") and array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(f"{path}: expected uint8, or numbers in [0, 1], for kind {kind!r}, got dtype {array.dtype}.")
    if 0 in array.shape:
        raise ValueError(f"{path}: expected no empty axis, got shape {array.shape}.")
    channels = 1 if kind == "audio" else sample[-1 if kind in ("image", "video") else 0]
    if math.prod(sample) > MOST_NUMBERS or channels > MOST_CHANNELS:
        raise ValueError(
            f"{path}: expected at most {MOST_NUMBERS} numbers and {MOST_CHANNELS} channels a sample, "
            f"got shape {sample}."
        )


def _read_table(path: Path) -> NDArray[np.float32]:
    if path.suffix.lower() not in TABLES:
        raise ValueError(f"{path}: expected .npy, {', '.join(TABLES)}.")
    lines = read_text(path, "a readable table of numbers").splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    delimiter = next((mark for mark in ",;\t" if numbered and mark in numbered[0][1]), None)
    rows: list[list[float]] = []
    for position, (number, line) in enumerate(numbered):
        cells = line.split(delimiter)
        row = [value for cell in cells if (value := to_number(cell)) is not None]
        if position == 0 and (not row or line.lstrip().startswith("#")):  # a header
            continue
        if len(row) < len(cells):
            wrong = next(cell.strip() for cell in cells if to_number(cell) is None)
            raise ValueError(f"{path}, line {number}: got {brief(repr(wrong))}, expected {FINITE}.")
        if rows and len(row) != len(rows[0]):
            raise ValueError(
                f"{path}, line {number}: expected {len(rows[0])} numbers, like the lines above, got {len(row)}."
            )
        rows.append(row)
    if not rows:
        raise ValueError(f"{path}: expected a table of numbers, got none.")
    return np.array(rows, dtype=np.float32)


def _read_clip(path: Path, config: DataConfig, bounds: Bounds | None) -> NDArray[np.uint8]:
    if path.suffix.lower() in FILMS:
        return read_mp4(path, config.frames, config.image_size)
    pictures = list(files_behind(path)) if path.is_dir() else []
    if not pictures:
        raise ValueError(f"{path}: expected .npy, {', '.join(FILMS)} or a folder of pictures.")
    chosen = [pictures[int(i)] for i in evenly_spaced(len(pictures), config.frames)]
    return read_frames([bounds.check(file) if bounds else file for file in chosen], config.image_size)


def files_behind(path: Path) -> Iterator[Path]:
    """Yield the file itself, or the files of a folder of pictures in the order of their numbers.

    >>> list(files_behind(Path("a.npy"))) == [Path("a.npy")]
    True
    """
    if path.is_dir():
        files = (path / name for name in visible(path))
        # Other folders inside are skipped; one with the name of a picture (1.jpg) is not: reading it is an error.
        yield from sorted((file for file in files if file.suffix or not file.is_dir()), key=by_number)
    else:
        yield path


def _read_sound(path: Path, rate_hz: float | None) -> NDArray[np.float32]:
    if path.suffix.lower() not in SOUNDS:
        raise ValueError(f"{path}: expected .npy, {', '.join(SOUNDS)}.")
    rate, sound = read_wav(path) if path.suffix.lower() == ".wav" else _read_other_sound(path)
    if rate_hz is not None and rate != rate_hz:
        raise ValueError(f"{path}: expected {rate_hz:g} samples per second, as dataset.toml says, got {rate}.")
    return sound if sound.ndim == 1 else sound.mean(axis=1)


def _read_other_sound(path: Path) -> tuple[int, NDArray[np.float32]]:
    try:
        import soundfile
    except ImportError as error:
        raise ValueError(f"{path}: reading {path.suffix} needs soundfile (pip install 'pkdot[audio]').") from error
    file_status(path, SOUND_MB)
    with decoding(path, "a whole sound file"):
        known = soundfile.info(path)
        if known.frames * known.channels > MOST_NUMBERS:
            raise ValueError(f"at most {MOST_NUMBERS} numbers, got {known.frames} x {known.channels} channels")
        sound, rate = soundfile.read(path, dtype="float32")
    check_sound(path, rate, sound)
    return rate, sound
