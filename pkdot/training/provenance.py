"""Where a run comes from: its settings as TOML, and the software that it ran with."""

import json
import platform
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pkdot.config import StudentRunConfig, TeacherRunConfig

COMMANDS = {TeacherRunConfig: "pkdot-train-teacher", StudentRunConfig: "pkdot-distill"}


def to_toml(config: TeacherRunConfig | StudentRunConfig) -> str:
    """The config as TOML: ``command`` first, then a table for each group of settings.

    A setting that is None is left out: TOML cannot express None, which is the default. ``resume`` is left out too.

    >>> print(to_toml(TeacherRunConfig()).splitlines()[0])
    command = "pkdot-train-teacher"
    """
    plain = _without_none(asdict(config))
    plain["run"].pop("resume", None)
    lines = [f"command = {_toml_value(COMMANDS[type(config)])}", *_toml_lines(plain)]
    return "\n".join(lines) + "\n"


def _toml_lines(table: dict[str, Any], path: str = "") -> list[str]:
    lines = [f"{key} = {_toml_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{path}{key}]", *_toml_lines(value, f"{path}{key}.")]
    return lines


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
    """The software that a run uses, its threads and its command line.

    >>> versions()["torch"] is not None
    True
    """
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
    """The commit of the code, where it runs from a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
