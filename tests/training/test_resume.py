"""Runs that are stopped, by Ctrl-C or by SIGKILL, end as runs that were not."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pkdot.config import StudentRunConfig
from pkdot.training.interrupt import Interrupted, stop_requests
from pkdot.training.run_folder import RunResult
from pkdot.training.state import Training
from pkdot.training.student import distill
from tests.support import student_config

RESULTS = ("best.safetensors", "metrics.jsonl", "predictions.csv")

KILLED_AT_STEP = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from pkdot.cli.distill import main
from pkdot.training.state import Training

steps_left = int(sys.argv[1])
step = Training.step

def counted(*arguments):
    global steps_left
    if steps_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    steps_left -= 1
    step(*arguments)

Training.step = counted
sys.exit(main(sys.argv[2:]))
"""


def config_for(vectors: Path, teacher: RunResult, out: Path) -> StudentRunConfig:
    config = student_config(vectors, out, teacher=teacher.folder.path, method="ot")
    config.optim.epochs = 4
    config.run.checkpoint_steps = 2
    config.run.threads = 1
    return replace(config, with_control=True)


def contents(run: Path) -> dict[str, bytes]:
    return {f"{part}{name}": (run / part / name).read_bytes() for part in ("", "control/") for name in RESULTS}


def metrics(run: Path) -> list[Any]:
    return [json.loads((run / part / "result.json").read_text())["metrics"] for part in ("", "control/")]


@pytest.fixture(scope="module")
def uninterrupted(vectors: Path, teacher: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distill(config_for(vectors, teacher, tmp_path_factory.mktemp("whole"))).student.folder.path


def resume(vectors: Path, teacher: RunResult, folder: Path) -> None:
    config = config_for(vectors, teacher, folder.parent)
    config.run.resume = folder
    distill(config)


def test_a_run_that_is_killed_again_and_again_ends_bit_identical(
    vectors: Path, teacher: RunResult, uninterrupted: Path, tmp_path: Path
) -> None:
    flags = f"--data {vectors} --teacher {teacher.folder.path} --out {tmp_path} --with-control --run.threads 1"
    flags += " --model.width 8 --epochs 4 --optim.batch-size 16 --run.checkpoint-steps 2"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    words: list[str] = flags.split()
    # Before the first state is saved, in the middle of an epoch, and in the control.
    for steps in (1, 5, 12):
        done = subprocess.run([sys.executable, "-c", KILLED_AT_STEP, str(steps), *words], env=environment, check=False)
        assert done.returncode == -signal.SIGKILL
        (folder,) = tmp_path.iterdir()
        words = ["--resume", str(folder)]
    resume(vectors, teacher, folder)
    assert contents(folder) == contents(uninterrupted)
    assert metrics(folder) == metrics(uninterrupted)


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_ctrl_c_saves_and_the_run_goes_on_as_if_nothing_had_happened(
    vectors: Path, teacher: RunResult, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    taken, step = 0, Training.step

    def interrupted_step(*arguments: Any) -> None:
        nonlocal taken
        step(*arguments)
        taken += 1
        if taken == steps:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", interrupted_step)
        with pytest.raises(Interrupted, match="state is saved") as stopped:
            distill(config_for(vectors, teacher, tmp_path))
    resume(vectors, teacher, stopped.value.folder)
    assert contents(stopped.value.folder) == contents(uninterrupted)


def test_resuming_a_finished_run_changes_nothing(vectors: Path, teacher: RunResult, uninterrupted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*") if path.is_file()}
    resume(vectors, teacher, uninterrupted)
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*") if path.is_file()} == before


def test_a_second_ctrl_c_is_obeyed_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), stop_requests() as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.made
        os.kill(os.getpid(), signal.SIGINT)


def test_a_damaged_state_is_refused_and_left_as_it_is(
    vectors: Path, teacher: RunResult, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.toml", "fingerprint.json"):
        (folder / name).write_bytes((uninterrupted / name).read_bytes())
    (folder / "last.pt").write_bytes((uninterrupted / "last.pt").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"last\.pt: not a readable checkpoint"):
        resume(vectors, teacher, folder)
    assert len((folder / "last.pt").read_bytes()) == 1000


def test_a_run_of_another_model_is_refused(
    vectors: Path, teacher: RunResult, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.toml", "fingerprint.json", "last.pt"):
        (folder / name).write_bytes((uninterrupted / name).read_bytes())
    config = config_for(vectors, teacher, tmp_path)
    config.run.resume, config.model.width = folder, 4
    with pytest.raises(ValueError, match=r"begun with other settings or data: .*model\.width 8 instead of 4"):
        distill(config)
    assert torch.load(folder / "last.pt", weights_only=True)["state"]["progress"]["finished"]
