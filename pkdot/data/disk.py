"""What is read as a file of a data set: a regular file of a sane size that lies in the data set's folder."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MB = 2**20
SETTINGS_MB = 1
"""Most of a dataset.toml."""
TABLE_MB = 32
"""Most of a text table: more numbers than a sample may have."""
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
    """What the system knows of a file that may be opened: a pipe would wait for ever, a device never end.

    Raises:
        ValueError: there is none, it is no regular file, or it has more than ``limit_mb``.
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
    """Whether anything has this name, also a link to nothing: what cannot be read must not look like missing."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


def folder_at(path: Path) -> Path:
    """The path of a folder that is there. Raises ``ValueError`` for anything else."""
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
    """The names in a folder that end in ``suffix``, in order, without hidden ones: systems leave files of their own.

    Raises:
        ValueError: it is no folder, or cannot be read.
    """
    try:
        names = os.listdir(folder_at(folder))
    except OSError as error:
        raise ValueError(f"{folder}: cannot be read ({reason(error)}).") from error
    return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))


def read_text(path: Path, what: str, limit_mb: int = TABLE_MB) -> str:
    """UTF-8 text with its own line ends and without a byte order mark.

    Raises:
        ValueError: naming the file, which was expected to be ``what``.
    """
    file_status(path, limit_mb)
    with decoding(path, what):
        content = path.read_bytes()
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ValueError("it is UTF-16; save it as UTF-8")
        return content.decode("utf-8-sig")


@contextmanager
def decoding(path: Path, what: str) -> Iterator[None]:
    """Whatever is raised in here becomes a ``ValueError`` that names the file and what was expected of it.

    Decoders answer damaged bytes with nearly any exception: ZeroDivisionError, UnboundLocalError, TokenError, ...
    """
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path}: expected {what}: {reason(error)}.") from error


def reason(error: BaseException) -> str:
    """What an exception says, in one line without its full stop."""
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return brief(said or type(error).__name__).rstrip(".")


def brief(value: object, most: int = 200) -> str:
    """A value as one line of a message, its middle left out if it is long."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 4 :]}"


def by_number(file: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts 2.jpg before 10.jpg."""
    parts = re.split(r"([0-9]+)", file.name)  # text and digits take turns
    # By the number of digits and then by these: int() refuses thousands of them.
    key = [(len(part.lstrip("0")), part.lstrip("0")) if place % 2 else (0, part) for place, part in enumerate(parts)]
    return key, file.name


@dataclass(frozen=True)
class Bounds:
    """The folder that a data set's files lie in, links and ``..`` followed; with ``outside`` they may lie anywhere."""

    folder: Path
    outside: bool = False
    _parents: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def check(self, path: Path) -> Path:
        """The path again. Raises ``ValueError`` if it leads out of the folder."""
        place = self.outside_place(path)
        if place is not None:
            raise ValueError(
                f"{path}: expected a file in the data folder {self.folder}, and it leads to {place}; "
                "--data.outside allows it."
            )
        return path

    def outside_place(self, path: Path) -> str | None:
        """Where the path leads to if that is outside the folder; None if it is allowed."""
        if self.outside:
            return None
        folder, name = os.path.split(path)
        # Most files are no links and have thousands of neighbours: what leads to them is followed once.
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
        """As :meth:`check`, and the file is one that readers take: what is only looked through has a largest size."""
        file_status(self.check(path), FILM_MB)
        return path
