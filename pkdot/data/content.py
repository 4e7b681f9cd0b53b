"""The content digest of a data set: with equal digests and equal settings, two runs give equal results."""

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

from tqdm.auto import tqdm

from pkdot.config import DataConfig
from pkdot.data import open_dataset
from pkdot.data.batch import MultimodalDataset
from pkdot.data.cache import default_cache_dir
from pkdot.data.disk import file_status
from pkdot.storage import write_text

LARGE_BYTES = 2**20
"""Files of this size or more have a digest of their own; smaller ones share one for their folder."""
SETTLED_AFTER_S = 2.0
"""A digest is stored only if its file is at least this old (s): a later change then gets another time stamp."""


@runtime_checkable
class OnDisk(Protocol):
    """A data set that is read from files.

    >>> from types import SimpleNamespace
    >>> isinstance(SimpleNamespace(folder=Path("mydata"), contents=lambda: []), OnDisk)
    True
    """

    folder: Path

    def contents(self) -> Iterable[Path]:
        """Yield every file that samples or labels are read from."""
        ...


@runtime_checkable
class Generated(Protocol):
    """A synthetic data set: ``generated`` names the version and the settings of the program that made it.

    >>> from types import SimpleNamespace
    >>> isinstance(SimpleNamespace(generated="biovid-A-binary-seed0"), Generated)
    True
    """

    generated: str


@dataclass(frozen=True)
class Opened:
    """An open data set with its content digest, which is computed on first use.

    >>> from types import SimpleNamespace
    >>> Opened(SimpleNamespace(generated="biovid-A-binary-seed0")).digest
    'be7023931e3b8b33'
    """

    dataset: MultimodalDataset
    cache_dir: Path | None = None

    @classmethod
    def of(cls, config: DataConfig) -> "Opened":
        """Open the data set of a config. Raises ``ValueError`` as :func:`pkdot.data.open_dataset` does."""
        return cls(open_dataset(config), config.cache_dir)

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits; see :func:`content_digest`."""
        return content_digest(self.dataset, self.cache_dir)


def content_digest(dataset: MultimodalDataset, cache_dir: Path | None = None) -> str:
    """Sixteen hex digits that change with any byte of any file that the data set is read from.

    The digests of files are stored in the cache folder, by size, inode and time stamps: the second time, files are
    only looked up. For a synthetic set, the generator's version and settings are digested instead of the files. For
    a reader without ``contents()``, only ids, subjects, targets and shapes are digested.

    Args:
        dataset: the open data set.
        cache_dir: the cache folder; None is :func:`~pkdot.data.cache.default_cache_dir`.

    Raises:
        ValueError: a file cannot be read, with its name.

    Example:
        >>> from types import SimpleNamespace
        >>> content_digest(SimpleNamespace(generated="biovid-A-binary-seed0"))
        'be7023931e3b8b33'
    """
    hasher = hashlib.sha256()
    if isinstance(dataset, Generated) and dataset.generated:
        hasher.update(f"generated {dataset.generated}".encode())
    elif isinstance(dataset, OnDisk):
        for name, digest in _file_digests(dataset.folder, dataset.contents(), cache_dir):
            hasher.update(f"{name} {digest}\n".encode(errors="surrogateescape"))
    else:
        hasher.update(json.dumps(dataset.schema.to_dict(), sort_keys=True).encode())
        for record in dataset.records:
            hasher.update(f"{record!r}\n".encode())
    return hasher.hexdigest()[:16]


def _file_digests(root: Path, files: Iterable[Path], cache_dir: Path | None) -> Iterator[tuple[str, str]]:
    """Names relative to ``root``, with digests: one for each large file, and one for the small files of a folder."""
    known = _KnownDigests((default_cache_dir() if cache_dir is None else cache_dir) / "digests", root)
    groups: dict[str, list[tuple[Path, os.stat_result]]] = defaultdict(list)
    for file in dict.fromkeys(files):
        status = file_status(file)
        name = os.path.relpath(file if status.st_size >= LARGE_BYTES else file.parent, root)
        groups[name].append((file, status))
    count = sum(map(len, groups.values()))
    with tqdm(total=count, desc="checking data", unit="file", disable=None, leave=False, delay=2) as bar:
        for name in sorted(groups):
            yield name, known.digest(name, groups[name])
            bar.update(len(groups[name]))
    known.save()


class _KnownDigests:
    """Digests stored in the cache, valid as long as a file's size, inode and time stamps have not changed."""

    def __init__(self, folder: Path, root: Path) -> None:
        place = hashlib.sha256(str(root.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
        self._path = folder / f"{place}.json"
        self._known = self._read()
        self._current: dict[str, list[str]] = {}

    def _read(self) -> dict[str, list[str]]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}

    def digest(self, name: str, files: list[tuple[Path, os.stat_result]]) -> str:
        """The common digest of some files; they are read if the stored digest is no longer valid."""
        files = sorted(files)
        stamp = _sha256(repr([(f.name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev) for f, s in files]))
        found = self._known.get(name)
        digest = found[1] if isinstance(found, list) and len(found) == 2 and found[0] == stamp else None
        if digest is None:
            started = time.time()
            digest = _sha256("".join(f"{file.name} {file_digest(file)}\n" for file, _ in files))
            changed = max(max(s.st_mtime, s.st_ctime) for _, s in files)
            if started - changed < SETTLED_AFTER_S:
                return digest
        self._current[name] = [stamp, digest]
        return digest

    def save(self) -> None:
        """Store the digests. If that fails, no error is raised: the next run then reads all files again."""
        if self._current == self._known:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, json.dumps(self._current))
        except OSError:
            pass


def file_digest(file: Path) -> str:
    """SHA-256 of a regular file's bytes, in hex. Raises ``ValueError`` if the file cannot be read.

    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile() as file:
    ...     file_digest(Path(file.name))[:16]
    'e3b0c44298fc1c14'
    """
    file_status(file)
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror}).") from error


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
