"""The run folder: where everything that a run leaves behind lies, and how its config reads as TOML."""

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pkdot.config import StudentRunConfig, TeacherRunConfig
from pkdot.storage import locked, write_text
from pkdot.training.fingerprint import Fingerprint, read_fingerprint

LONGEST_NAME = 50
"""Of a run, behind its date (characters; a file system takes 255 bytes)."""
_LEFT_OUT = re.compile(r"[^\w+.@-]+")

COMMANDS = {TeacherRunConfig: "pkdot-train-teacher", StudentRunConfig: "pkdot-distill"}


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    ``last.pt`` is the state to resume from, ``best.safetensors`` the selected model, ``metrics.jsonl`` the source of
    truth for every curve, ``result.json`` the mark of a finished run.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings; ``--recipe`` of this file repeats the run."""
        return self.path / "config.toml"

    @property
    def fingerprint(self) -> Path:
        """All that decides the result, by which a run is reused or refused."""
        return self.path / "fingerprint.json"

    @property
    def versions(self) -> Path:
        """Versions of Python and the libraries, the thread count and the command line."""
        return self.path / "versions.json"

    @property
    def metrics(self) -> Path:
        """One JSON line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def last(self) -> Path:
        """The latest state of training."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """The weights of the epoch that was best on the validation split."""
        return self.path / "best.safetensors"

    @property
    def metadata(self) -> Path:
        """What ``best.safetensors`` is, for a reader; the same JSON stands in its header."""
        return self.path / "best.json"

    @property
    def predictions(self) -> Path:
        """One line a test sample."""
        return self.path / "predictions.csv"

    @property
    def result(self) -> Path:
        """The figures of the test split."""
        return self.path / "result.json"

    @property
    def picture(self) -> Path:
        """The structure matrices of teacher and student, before and after."""
        return self.path / "structure.png"

    def begin(self, config: TeacherRunConfig | StudentRunConfig, fingerprint: Fingerprint) -> None:
        """Write the resolved config, the versions and the fingerprint; a resumed run has them, and must fit.

        Raises:
            ValueError: what is there was begun with other settings or data, or says nothing of them.
        """
        if self.config.exists():
            self.check(fingerprint)
            return
        write_text(self.versions, json.dumps(versions(), indent=2) + "\n")
        fingerprint.write(self.fingerprint)
        write_text(self.config, to_toml(config))

    def check(self, fingerprint: Fingerprint) -> None:
        """Raise ``ValueError`` unless the run in this folder is the one that the fingerprint tells of."""
        differing = read_fingerprint(self.fingerprint).differences(fingerprint)
        if differing:
            raise ValueError(f"{self.path}: was begun with other settings or data: {', '.join(differing)}.")


def new_run_folder(out: Path, name: str) -> RunFolder:
    """Make ``out/<date>-<name>``, with a number behind it where two runs start in the same second.

    Of the name, which a data set may have chosen, are kept letters, digits and what else any system takes.
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
    """A run folder that exists, or a ``ValueError`` that says what is missing."""
    folder = RunFolder(path)
    if not path.is_dir():
        raise ValueError(f"{path}: no such run folder.")
    if not folder.config.is_file():
        raise ValueError(f"{path}: not a run folder, it has no config.toml.")
    return folder


@contextmanager
def held(folder: RunFolder, config: TeacherRunConfig | StudentRunConfig, fingerprint: Fingerprint) -> Iterator[None]:
    """Begin or resume a run that no other process may touch meanwhile.

    A run that fails before it has saved a state leaves nothing behind.

    Raises:
        FolderInUse: another process trains it.
        ValueError: it cannot be resumed, as :meth:`RunFolder.begin` says.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        folder.begin(config, fingerprint)
        try:
            yield
        except BaseException:
            if not folder.last.exists() and not folder.result.exists():
                shutil.rmtree(folder.path, ignore_errors=True)
            raise


def to_toml(config: TeacherRunConfig | StudentRunConfig) -> str:
    """The config as TOML: ``command`` on top, then a table for each group; ``resume`` is not a setting of the run.

    What is None is left out: TOML has no word for it, and None is then the default.
    """
    plain = _without_none(asdict(config))
    plain["run"].pop("resume", None)
    tables = {key: value for key, value in plain.items() if isinstance(value, dict)}
    lines = [f"command = {_toml_value(COMMANDS[type(config)])}"]
    lines += [f"{key} = {_toml_value(value)}" for key, value in plain.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _without_none(plain: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in plain.items()
        if value is not None
    }


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(part) for part in value) + "]"
    # A JSON string is a TOML string.
    return json.dumps(str(value), ensure_ascii=False)


def versions() -> dict[str, Any]:
    """What the run was made with."""
    return {
        "argv": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "git": _git_state(),
        **{name: _version(name) for name in ("pkdot", "torch", "numpy", "scipy", "pot", "safetensors")},
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _git_state() -> str | None:
    """The commit of the code that runs, where it runs from a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
