"""What a data set consists of, as a digest: data sets with equal digests are trained on alike."""

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
"""From this size on a file is remembered by itself; smaller ones are remembered together, a folder at a time."""
SETTLED_AFTER_S = 2.0
"""A file that was changed later than so long ago is not remembered: its next change might bear the same time."""


@runtime_checkable
class OnDisk(Protocol):
    """A data set that is read from files."""

    folder: Path

    def contents(self) -> Iterable[Path]:
        """Every file that samples or their labels are read from."""
        ...


@runtime_checkable
class Generated(Protocol):
    """A data set that a program has made: ``generated`` names the program's version and its settings."""

    generated: str


@dataclass(frozen=True)
class Opened:
    """A data set that has been opened, with a digest of what it consists of, made when it is first asked for."""

    dataset: MultimodalDataset
    cache_dir: Path | None = None

    @classmethod
    def of(cls, config: DataConfig) -> "Opened":
        """Raises ``ValueError`` as :func:`pkdot.data.open_dataset` does."""
        return cls(open_dataset(config), config.cache_dir)

    @cached_property
    def digest(self) -> str:
        """16 hex digits. Raises ``ValueError`` for a file that cannot be read."""
        return content_digest(self.dataset, self.cache_dir)


def content_digest(dataset: MultimodalDataset, cache_dir: Path | None = None) -> str:
    """Sixteen hex digits that change with any byte of any file that the data set is read from.

    Digests of files are remembered in the cache folder by size, inode and times of change, so that the second time
    costs no more than looking at the names. Of a synthetic set the generator's version and settings are taken. Of a
    reader of somebody's own without ``contents()`` only ids, subjects, targets and shapes are known.

    Raises:
        ValueError: a file cannot be read, with its name.
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
    """Names below ``root`` and digests: of large files one by one, of small ones a folder at a time."""
    memory = _Memory((default_cache_dir() if cache_dir is None else cache_dir) / "digests", root)
    groups: dict[str, list[tuple[Path, os.stat_result]]] = defaultdict(list)
    for file in dict.fromkeys(files):
        status = file_status(file)
        name = os.path.relpath(file if status.st_size >= LARGE_BYTES else file.parent, root)
        groups[name].append((file, status))
    count = sum(map(len, groups.values()))
    with tqdm(total=count, desc="checking data", unit="file", disable=None, leave=False, delay=2) as bar:
        for name in sorted(groups):
            yield name, memory.digest(name, groups[name])
            bar.update(len(groups[name]))
    memory.save()


class _Memory:
    """Digests from earlier times, which hold as long as nothing about a file's size, inode and times has changed."""

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
        """Of files together, read anew where the memory does not hold."""
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
        """For the next time; without it everything is read again, which is no reason to fail."""
        if self._current == self._known:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, json.dumps(self._current))
        except OSError:
            pass


def file_digest(file: Path) -> str:
    """SHA-256 of a regular file's bytes, in hex. Raises ``ValueError`` for one that cannot be read."""
    file_status(file)
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror}).") from error


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
