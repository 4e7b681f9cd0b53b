"""The cache: a folder on the disk for data that are made once and then used by every run."""

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

ABANDONED_AFTER_S = 3600.0
"""Age (seconds) from which an unfinished folder counts as left behind by a killed run, and is removed."""


def default_cache_dir() -> Path:
    """The cache folder: ``$XDG_CACHE_HOME/pkdot``, or ``~/.cache/pkdot`` if that variable is not set.

    >>> default_cache_dir().name
    'pkdot'
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pkdot"


def recipe_digest(spec: object, *makers: ModuleType) -> str:
    """Eight hex digits that identify a synthetic set: its spec, and the source of the modules that make it.

    It is part of the folder's name, so a run never reads data from another version of the code.

    >>> recipe_digest("40 subjects"), recipe_digest("41 subjects")
    ('e96234d1', '1bb5f4d7')
    """
    digest = hashlib.sha256(repr(spec).encode())
    for module in makers:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:8]


def cached_folder(cache_dir: Path | None, name: str, write: Callable[[Path], object]) -> Path:
    """Return the folder ``name`` in the cache; make it with ``write(folder)`` if it does not exist.

    The folder is written under another name and renamed when it is complete. A killed run therefore leaves nothing
    that looks finished, and if two runs make the folder at once, the slower one uses the result of the faster one.

    Raises:
        ValueError: the cache cannot be written, with the reason.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as cache:
        ...     folder = cached_folder(Path(cache), "toy", lambda folder: (folder / "a.txt").touch())
        ...     [path.name for path in folder.iterdir()]
        ['a.txt']
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
        # A folder that is not empty cannot be replaced: another run was faster and has made the same data.
        if not folder.is_dir():
            raise


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(".*.unfinished"):
        try:
            if time.time() - folder.stat().st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue
