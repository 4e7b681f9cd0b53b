"""Safe access to the files of a data set: regular files of a sane size inside the data set's folder."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MB = 2**20
SETTINGS_MB = 1
"""Largest dataset.toml; the limits below are for one text table, picture, sound and film."""
TABLE_MB = 32
PICTURE_MB = 64
SOUND_MB = 1024
FILM_MB = 2048

_SORTS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def file_status(path: Path, limit_mb: int | None = None) -> os.stat_result:
    """The status of a regular file. Call it before opening: a pipe would block for ever, a device would never end.

    Raises:
        ValueError: the file does not exist, is no regular file, or is larger than ``limit_mb``.

    Example:
        >>> file_status(Path("nowhere.csv"))
        Traceback (most recent call last):
        ValueError: nowhere.csv: no such file.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        what = "a link to nothing" if path.is_symlink() else "no such file"
        raise ValueError(f"{path}: {what}.") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{brief(path)}: cannot be read ({reason(error)}).") from error
    if not stat.S_ISREG(status.st_mode):
        sort = next((name for is_it, name in _SORTS if is_it(status.st_mode)), "something else")
        raise ValueError(f"{path}: expected a regular file, got {sort}.")
    if limit_mb is not None and status.st_size > limit_mb * MB:
        raise ValueError(f"{path}: expected at most {limit_mb} MB, got {status.st_size / MB:.1f} MB.")
    return status


def something_at(path: Path) -> bool:
    """Whether anything has this name, even a broken link. An unreadable file must not be taken for a missing one.

    >>> something_at(Path("nowhere.csv"))
    False
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


def folder_at(path: Path) -> Path:
    """Return the path if it is an existing folder. Raises ``ValueError`` for anything else.

    >>> folder_at(Path("nowhere"))
    Traceback (most recent call last):
    ValueError: nowhere: no such folder.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(f"{path}: no such folder.") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{brief(path)}: cannot be read ({reason(error)}).") from error
    if not stat.S_ISDIR(mode):
        raise ValueError(f"{path}: expected a folder, got a file.")
    return path


def visible(folder: Path, suffix: str = "") -> list[str]:
    """The sorted names in a folder that end in ``suffix``, without hidden files (systems leave some there).

    Raises:
        ValueError: the path is no folder, or the folder cannot be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("b.jpg", "a.jpg", "._a.jpg", "notes.txt"):
        ...         Path(folder, name).touch()
        ...     visible(Path(folder), ".jpg")
        ['a.jpg', 'b.jpg']
    """
    try:
        names = os.listdir(folder_at(folder))
    except OSError as error:
        raise ValueError(f"{folder}: cannot be read ({reason(error)}).") from error
    return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))


def read_text(path: Path, what: str, limit_mb: int = TABLE_MB) -> str:
    """Read UTF-8 text. Line ends stay as they are; a byte order mark is removed.

    Args:
        path: the file.
        what: what the file should be, for the message.
        limit_mb: the largest size.

    Raises:
        ValueError: the file cannot be read, is too large or is no UTF-8.

    Example:
        >>> from tempfile import NamedTemporaryFile
        >>> with NamedTemporaryFile() as file:
        ...     _ = Path(file.name).write_text("id,subject")
        ...     read_text(Path(file.name), "a readable text table")
        'id,subject'
    """
    file_status(path, limit_mb)
    with decoding(path, what):
        content = path.read_bytes()
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ValueError("it is UTF-16; save it as UTF-8")
        return content.decode("utf-8-sig")


@contextmanager
def decoding(path: Path, what: str) -> Iterator[None]:
    """Turn any exception in a ``with`` block into a ``ValueError`` that names the file and what was expected.

    Every exception is caught, because decoders raise nearly anything on damaged bytes: ZeroDivisionError,
    UnboundLocalError, TokenError, ...

    >>> with decoding(Path("a.wav"), "a whole WAV file"):
    ...     int("noise")
    Traceback (most recent call last):
    ValueError: a.wav: expected a whole WAV file: invalid literal for int() with base 10: 'noise'.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path}: expected {what}: {reason(error)}.") from error


def reason(error: BaseException) -> str:
    """The message of an exception in one line, without its full stop.

    >>> reason(PermissionError(13, "Permission denied", "a.csv")), reason(MemoryError())
    ('Permission denied', 'it does not fit into RAM')
    """
    if isinstance(error, MemoryError):
        return "it does not fit into RAM"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return brief(said or type(error).__name__).rstrip(".")


def brief(value: object, most: int = 200) -> str:
    """A value as one line of a message; the middle of a long one is left out.

    >>> brief("abcdefghijklmnop", most=8)
    'abcd ... op'
    """
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 4 :]}"


def by_number(file: Path) -> tuple[list[tuple[int, str]], str]:
    """A sort key that puts 2.jpg before 10.jpg.

    >>> [file.name for file in sorted([Path("10.jpg"), Path("2.jpg")], key=by_number)]
    ['2.jpg', '10.jpg']
    """
    parts = re.split(r"([0-9]+)", file.name)  # text and digits alternate
    # Compare the number of digits, then the digits: int() refuses numbers of thousands of digits.
    key = [(len(part.lstrip("0")), part.lstrip("0")) if place % 2 else (0, part) for place, part in enumerate(parts)]
    return key, file.name


@dataclass(frozen=True)
class Bounds:
    """The folder in which all files of a data set must lie, after links and ``..`` are followed.

    With ``outside`` they may lie anywhere.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     bounds = Bounds(Path(folder))
    ...     inside = bounds.outside_place(Path(folder, "a.csv"))
    >>> inside, bounds.outside_place(Path(folder, "..", "secret.csv")) is None
    (None, False)
    """

    folder: Path
    outside: bool = False
    _parents: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def check(self, path: Path) -> Path:
        """Return the path. Raises ``ValueError`` if it leads out of the folder."""
        place = self.outside_place(path)
        if place is not None:
            raise ValueError(
                f"{path}: expected a file in the data folder {self.folder}, but this path leads to {place}; "
                "--data.outside allows it."
            )
        return path

    def outside_place(self, path: Path) -> str | None:
        """Where the path leads, if that is outside the folder and must not be read; otherwise None."""
        if self.outside:
            return None
        folder, name = os.path.split(path)
        # Few files are links, and thousands lie in one folder: resolve each folder once.
        place = os.path.join(self._real(folder), name)
        if name == ".." or os.path.islink(place):
            place = os.path.realpath(place)
        inside = self._real(str(self.folder))
        return None if place == inside or place.startswith(os.path.join(inside, "")) else place

    def _real(self, folder: str) -> str:
        if folder not in self._parents:
            self._parents[folder] = os.path.realpath(folder)
        return self._parents[folder]

    def listed(self, path: Path) -> Path:
        """As :meth:`check`; the file must also be regular and at most as large as a film, so that digesting it ends."""
        file_status(self.check(path), FILM_MB)
        return path
