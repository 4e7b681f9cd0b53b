"""Folders that are made once and then used by every run."""

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

ABANDONED_AFTER_S = 3600.0
"""Age at which an unfinished folder is taken for the remains of a run that was killed."""


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/pkdot``, or ``~/.cache/pkdot``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pkdot"


def recipe_digest(spec: object, *makers: ModuleType) -> str:
    """Eight hex digits of what a data set is made from: its spec, and the source of the modules that make it.

    As part of a cached folder's name it keeps a run from reading what another version of the code has made.
    """
    digest = hashlib.sha256(repr(spec).encode())
    for module in makers:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:8]


def cached_folder(cache_dir: Path | None, name: str, write: Callable[[Path], object]) -> Path:
    """The folder ``name`` in the cache, made by ``write(folder)`` if it is not there yet.

    The folder is written under another name and takes its own in one step, so that it is either absent or whole:
    a killed run leaves nothing that looks finished, and of two runs that make it at once the later uses the
    earlier's.

    Raises:
        ValueError: the cache cannot be written, with the reason.
    """
    parent = default_cache_dir() if cache_dir is None else cache_dir
    folder = parent / name
    if folder.is_dir():
        return folder
    unfinished = parent / f".{name}-{os.getpid()}-{secrets.token_hex(4)}.unfinished"
    try:
        unfinished.mkdir(parents=True)
        _remove_abandoned(parent)
        write(unfinished)
        _take_name(unfinished, folder)
    except OSError as error:
        raise ValueError(
            f"{folder}: this data set could not be made: {error}. Is the cache folder writable?"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _take_name(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        # A folder cannot replace one that has content: another run was faster, and made the same.
        if not folder.is_dir():
            raise


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(".*.unfinished"):
        try:
            if time.time() - folder.stat().st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue
