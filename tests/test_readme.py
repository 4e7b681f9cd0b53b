"""What the README and docs/ show is run here as it stands there."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pkdot.config import DataConfig, ModelConfig, OptimConfig
from pkdot.data import open_dataset
from pkdot.training.student import StudentResult
from tests.support import metrics_of, write_vectors

ROOT = Path(__file__).parents[1]


def blocks(language: str, page: str = "README.md") -> list[str]:
    """A page's fenced blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_loss_in_somebody_elses_loop_reaches_the_student() -> None:
    (loop,) = [block for block in blocks("python") if "OTDistillLoss" in block]
    assert len([line for line in loop.splitlines() if line.strip()]) <= 6
    trunk, head = nn.Linear(5, 4), nn.Linear(4, 2)
    names = {
        "student": lambda video: (trunk(video), head(trunk(video))),
        "video": torch.randn(16, 5),
        "teacher_embedding": torch.randn(16, 7),
        "task_loss": nn.functional.cross_entropy,
        "target": torch.arange(16) % 2,
    }
    exec(loop, names)
    assert trunk.weight.grad is not None
    assert float(trunk.weight.grad.norm()) > 0


def test_the_own_loss_is_one_short_file_and_trains(tmp_path: Path) -> None:
    (script,) = blocks("python", "docs/extend.md")
    assert len([line for line in script.splitlines() if line.strip()]) <= 15
    (tmp_path / "mine.py").write_text(script)
    data = write_vectors(tmp_path / "data")
    flags = f"--data {data} --out {tmp_path / 'runs'} --epochs 1 --model.width 8 --optim.batch-size 16"
    done = subprocess.run(
        [sys.executable, "mine.py", *flags.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "student (centroid)" in done.stdout
    (run,) = (tmp_path / "runs").glob("*-centroid-*")
    assert metrics_of(run)["method"] == "centroid"


@pytest.mark.parametrize("page", ["README.md", "docs/own-data.md"])
def test_the_manifest_opens(page: str, tmp_path: Path) -> None:
    (manifest,) = blocks("toml", page)
    classes = tomllib.loads(manifest)["classes"]
    (tmp_path / "dataset.toml").write_text(manifest)
    rows = [f"s{i},p{i % 5},{classes[i % 3]}" for i in range(15)]
    (tmp_path / "samples.csv").write_text("id,subject,exercise\n" + "\n".join(rows) + "\n")
    for name in ("accelerometer", "gyroscope"):
        np.save(tmp_path / f"{name}.npy", np.zeros((15, 3, 100), np.float32))
    dataset = open_dataset(DataConfig(source=str(tmp_path)))
    assert len(dataset.records) == 15
    assert dataset.schema.prevalent == ("accelerometer",)


def test_distilling_from_python_prints_what_a_user_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script,) = [block for block in blocks("python") if "distill(" in block]
    write_vectors(tmp_path / "mydata")
    monkeypatch.chdir(tmp_path)
    short = OptimConfig(epochs=1, batch_size=16)
    script = script.replace('source="mydata")', 'source="mydata"), optim=short, model=small')
    names: dict[str, object] = {"short": short, "small": ModelConfig(width=8)}
    exec(script, names)
    result = names["result"]
    assert isinstance(result, StudentResult)
    assert result.control is not None
    assert 0 <= result.student.metrics["accuracy"] <= 1
