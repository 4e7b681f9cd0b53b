"""Files that are either whole or absent, also after a crash, and the lock that keeps a folder to one process."""

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
    """Another process holds the lock of a folder."""


def write_text(path: Path, text: str) -> None:
    """As :func:`write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace a file in one step, so that neither a reader nor a crash, of the machine too, leaves half of it."""
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
    """Have the folder's list of names on the disk as well, where the system can."""
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
    """Hold ``folder`` for this process; what a killed one left half written in it is removed.

    The lock is ``flock`` on the file ``.lock`` in the folder. The system frees it when the process ends, however it
    ends; on a network disk (NFS, Lustre, GPFS) the file server does, once the machine that held it is gone, so that
    no lock has to be broken by hand. Where a disk knows no ``flock``, the file holds the owner's process and machine
    instead, and the next process on that machine frees it.

    Args:
        folder: that exists.
        wait: until the other process is done, instead of raising.

    Raises:
        FolderInUse: another process holds it, with its number and machine.
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
    """Whether another process holds the folder at this moment."""
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
