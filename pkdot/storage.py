"""Files that are complete or absent, even after a crash, and the lock that keeps a folder to one process."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"
_UNFINISHED = re.compile(r"\..+\.\d+\.part")


class FolderInUse(ValueError):
    """Another process holds the lock of a folder.

    >>> issubclass(FolderInUse, ValueError)
    True
    """


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, as :func:`write_bytes` does.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_text(Path(folder, "result.json"), "{}")
    ...     Path(folder, "result.json").read_text()
    '{}'
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace a file in one step. No reader sees half of it, and no crash leaves half of it, not even a power failure.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_bytes(Path(folder, "last.pt"), b"state")
    ...     [path.name for path in Path(folder).iterdir()]
    ['last.pt']
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Force the folder's list of names onto the disk, where the system can do that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network disks refuse it
        pass
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder for this process. Files that a killed process left half written are removed.

    The lock is ``flock`` on the file ``.lock`` in the folder. The system frees it when the process ends, even when it
    is killed. On a network disk (NFS, Lustre, GPFS) the file server frees it when the machine is gone. So nobody has
    to remove a lock by hand. On a disk without ``flock`` the file holds the owner's process and machine instead, and
    the next process on that machine frees it.

    Args:
        folder: an existing folder.
        wait: wait for the other process instead of raising.

    Raises:
        FolderInUse: another process holds the lock; the message has its number and machine.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, locked(Path(folder)):
    ...     in_use(Path(folder))
    True
    """
    lock = FileLock(folder / LOCK)
    owner = folder / f"{LOCK}-owner"
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        raise FolderInUse(f"{folder}: in use by {_owner(owner)}; expected a folder that no other run writes.") from None
    try:
        for path in folder.iterdir():
            if _UNFINISHED.fullmatch(path.name):
                path.unlink(missing_ok=True)
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def in_use(folder: Path) -> bool:
    """Whether somebody holds the lock of a folder at this moment.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     in_use(Path(folder))
    False
    """
    if not folder.is_dir():
        return False
    try:
        with locked(folder):
            return False
    except FolderInUse:
        return True


def _owner(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"
