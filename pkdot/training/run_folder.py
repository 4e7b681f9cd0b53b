"""The run folder: all files of a run, how a run begins, and how finished runs are found."""

import json
import logging
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pkdot.config import StudentRunConfig, TeacherRunConfig
from pkdot.storage import locked, write_text
from pkdot.training.fingerprint import Fingerprint, read_fingerprint
from pkdot.training.provenance import to_toml, versions

log = logging.getLogger(__name__)

LONGEST_NAME = 50
"""Longest name of a run, without its date (characters); a file system allows 255 bytes."""
_LEFT_OUT = re.compile(r"[^\w+.@-]+")

_RESULT = ("kind", "data", "split_digest", "label_digest", "label_share", "primary_metric", "metrics")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. A run with a ``result.json`` is finished.

    >>> RunFolder(Path("runs/teacher")).best.name
    'best.safetensors'
    """

    path: Path

    @property
    def config(self) -> Path:
        """All settings of the run, with numbers in place of "auto"; ``--recipe`` with this file repeats the run."""
        return self.path / "config.toml"

    @property
    def fingerprint(self) -> Path:
        """Everything that decides the result; it tells whether the run can be reused or resumed."""
        return self.path / "fingerprint.json"

    @property
    def versions(self) -> Path:
        """Versions of Python and the libraries, the thread count and the command line."""
        return self.path / "versions.json"

    @property
    def metrics(self) -> Path:
        """One JSON line per epoch; curves and tables are made from it."""
        return self.path / "metrics.jsonl"

    @property
    def last(self) -> Path:
        """The latest state of the training, to resume from."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """The selected model: the weights of the epoch that was best on the validation split."""
        return self.path / "best.safetensors"

    @property
    def metadata(self) -> Path:
        """What ``best.safetensors`` is, for people; its header has the same JSON."""
        return self.path / "best.json"

    @property
    def predictions(self) -> Path:
        """One line per test sample."""
        return self.path / "predictions.csv"

    @property
    def result(self) -> Path:
        """The metrics of the test split, and what they were computed on."""
        return self.path / "result.json"

    @property
    def picture(self) -> Path:
        """The structure matrices of the teacher, of the untrained student and of the distilled one."""
        return self.path / "structure.png"

    def read_result(self) -> dict[str, Any]:
        """The content of ``result.json``. Raises ``ValueError`` if it is missing or damaged, or not a result."""
        try:
            result = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{self.result}: no readable result; the run has not finished.") from error
        lacking = [name for name in _RESULT if name not in result] if isinstance(result, dict) else ["everything"]
        if lacking or not isinstance(result["metrics"], dict):
            raise ValueError(f"{self.result}: not the result of a run (lacks {', '.join(lacking) or 'metrics'}).")
        return dict(result)

    def differences(self, fingerprint: Fingerprint, *, but: Iterable[str] = ()) -> list[str]:
        """A phrase for each difference from a run with ``fingerprint``, except for the parts in ``but``."""
        return read_fingerprint(self.fingerprint).differences(fingerprint, but=but)

    def check(self, fingerprint: Fingerprint) -> None:
        """Raise ``ValueError`` unless the run in this folder has this fingerprint."""
        if differing := self.differences(fingerprint):
            raise ValueError(f"{self.path}: was begun with other settings or data: {', '.join(differing)}.")


@dataclass(frozen=True)
class RunResult:
    """A finished run, with the content of its ``result.json``.

    >>> RunResult(RunFolder(Path("runs/teacher")), {"metrics": {"accuracy": 0.75}}).metrics
    {'accuracy': 0.75}
    """

    folder: RunFolder
    result: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics on the test split."""
        metrics: dict[str, float] = self.result["metrics"]
        return metrics


def new_run_folder(out: Path, name: str) -> RunFolder:
    """Make the folder ``out/<date>-<name>``.

    A number is added where two runs start in the same second. The name may come from a data set: characters that
    some file systems refuse become dashes.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as out:
    ...     new_run_folder(Path(out), "kd: first/second").path.name[16:]
    'kd-first-second'
    """
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{_LEFT_OUT.sub('-', name)[:LONGEST_NAME]}"
    out.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        path = out / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return RunFolder(path)
    raise ValueError(f"{out} already holds 1000 runs named {stem}.")


def open_run_folder(path: Path) -> RunFolder:
    """An existing run folder. Raises ``ValueError`` if there is none.

    >>> open_run_folder(Path("nowhere"))
    Traceback (most recent call last):
    ValueError: nowhere: no such run folder.
    """
    folder = RunFolder(path)
    if not path.is_dir():
        raise ValueError(f"{path}: no such run folder.")
    if not folder.config.is_file():
        raise ValueError(f"{path}: not a run folder, it has no config.toml.")
    return folder


def finished_runs(out: Path, kind: str) -> list[RunResult]:
    """The finished runs of a kind in a folder of runs, the newest first.

    A run whose result cannot be read is left out, and a line in the log says so.

    Args:
        out: the folder of runs; it need not exist.
        kind: "teacher" or "student".

    >>> finished_runs(Path("nowhere"), "teacher")
    []
    """
    found = []
    for file in sorted(out.glob("*/result.json"), key=_age, reverse=True):
        try:
            run = RunResult(RunFolder(file.parent), RunFolder(file.parent).read_result())
        except ValueError as error:
            log.warning("passed over %s: %s", file.parent, error)
            continue
        if run.result.get("kind") == kind:
            found.append(run)
    return found


def named_run(path: Path, kind: str) -> RunResult:
    """The finished run that a path names: a run folder, or a folder of runs with one run of this kind.

    Args:
        path: the folder.
        kind: "teacher" or "student".

    Raises:
        ValueError: there is no such run, or more than one, or one of another kind.

    >>> named_run(Path("nowhere"), "teacher")
    Traceback (most recent call last):
    ValueError: nowhere: no such run folder.
    """
    if path.is_dir() and not (path / "config.toml").exists():
        runs = finished_runs(path, kind)
        if len(runs) != 1:
            found = ", ".join(sorted(run.folder.path.name for run in runs)) or "none"
            raise ValueError(f"{path}: expected a run folder, or a folder with one {kind} run in it; found {found}.")
        return runs[0]
    run = RunResult(open_run_folder(path), RunFolder(path).read_result())
    if run.result["kind"] != kind:
        raise ValueError(f"{path}: holds a {run.result['kind']}, not a {kind}.")
    return run


def _age(file: Path) -> tuple[float, Path]:
    try:
        return file.stat().st_mtime, file
    except OSError:
        return 0.0, file


@contextmanager
def held(
    config: TeacherRunConfig | StudentRunConfig,
    fingerprint: Fingerprint,
    *,
    name: str,
    folder: RunFolder | None = None,
) -> Iterator[RunFolder]:
    """Begin or resume a run, and lock its folder for this process.

    A run that fails before it has saved a state leaves nothing behind. A finished run is not changed.

    Args:
        config: of the run, with numbers instead of "auto".
        fingerprint: of everything that decides its result.
        name: of a new folder, unless ``config.run.name`` is set.
        folder: where the run goes; None resumes ``config.run.resume``, or makes a new folder.

    Raises:
        FolderInUse: another process trains in this folder.
        ValueError: the folder holds a run with another fingerprint, or with a damaged one.

    >>> from tempfile import TemporaryDirectory
    >>> config = TeacherRunConfig()
    >>> with TemporaryDirectory() as out:
    ...     with held(config, Fingerprint({"seed": 0}), name="teacher", folder=RunFolder(Path(out, "run"))) as folder:
    ...         sorted(path.name for path in folder.path.glob("*.*") if path.name[0] != ".")
    ['config.toml', 'fingerprint.json', 'versions.json']
    """
    if folder is None and config.run.resume is not None:
        folder = open_run_folder(config.run.resume)
    out_existed = config.run.out.exists()
    folder = folder or new_run_folder(config.run.out, config.run.name or name)
    if folder.config.exists() or folder.result.exists():
        folder.check(fingerprint)
    if folder.result.exists():
        yield folder
        return
    first = {
        folder.versions: json.dumps(versions(), indent=2) + "\n",
        folder.fingerprint: fingerprint.text,
        folder.config: to_toml(config),
    }
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        try:
            for path, text in () if folder.config.exists() else first.items():
                write_text(path, text)
            yield folder
        except BaseException:
            if not folder.last.exists() and not folder.result.exists():
                shutil.rmtree(folder.path, ignore_errors=True)
                if not out_existed:
                    with suppress(OSError):  # another run has begun there, or nothing was made
                        config.run.out.rmdir()
            raise
