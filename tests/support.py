"""Data sets and configs small enough to train on within a test."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pkdot.config import (
    DataConfig,
    DistillConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    StudentRunConfig,
    TeacherRunConfig,
)

DATASET_TOML = """
name = "{name}"
task = "{task}"
targets = ["{target}"]
{classes}
prevalent = ["weak"]
privileged = ["strong"]

[modalities.weak]
kind = "vector"
source = "array"

[modalities.strong]
kind = "vector"
source = "array"
"""


def write_vectors(
    folder: Path,
    *,
    subjects: int = 12,
    per_subject: int = 6,
    seed: int = 0,
    task: str = "classification",
    name: str = "toy",
    names: tuple[str, ...] = ("low", "high"),
) -> Path:
    """Write a manifest of two vectors: ``strong`` predicts the class well, ``weak`` a little."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    n = subjects * per_subject
    level = np.tile(np.arange(per_subject) % len(names), subjects)
    sign = (2 * level - len(names) + 1)[:, None]
    np.save(folder / "weak.npy", (0.5 * sign + generator.normal(size=(n, 4))).astype(np.float32))
    np.save(folder / "strong.npy", (2.0 * sign + generator.normal(size=(n, 3))).astype(np.float32))
    regression = task == "regression"
    cells = [f"{sign[i, 0] + generator.normal():.4f}" if regression else names[level[i]] for i in range(n)]
    rows = [f"s{i:03d},p{i // per_subject:02d},{cell}" for i, cell in enumerate(cells)]
    (folder / "samples.csv").write_text("id,subject,answer\n" + "\n".join(rows) + "\n")
    classes = "" if regression else f"classes = {json.dumps(names)}"
    (folder / "dataset.toml").write_text(DATASET_TOML.format(name=name, task=task, target="answer", classes=classes))
    return folder


def teacher_config(data: Path | str, out: Path, **run: Any) -> TeacherRunConfig:
    """The config of a run of two epochs on a tiny data set."""
    return TeacherRunConfig(
        DataConfig(source=str(data)),
        ModelConfig(width=8),
        OptimConfig(epochs=2, batch_size=16),
        RunConfig(out=out, **run),
    )


def student_config(data: Path | str, out: Path, *, teacher: Path | None = None, **distill: Any) -> StudentRunConfig:
    """The config of a run of two epochs on a tiny data set."""
    return StudentRunConfig(
        DataConfig(source=str(data)),
        ModelConfig(width=8),
        OptimConfig(epochs=2, batch_size=16),
        DistillConfig(**distill),
        RunConfig(out=out),
        teacher=teacher,
    )


def run_files(folder: Path) -> set[str]:
    """The names of the files in a run folder; the event file of TensorBoard is called "tensorboard"."""
    return {"tensorboard" if path.name.startswith("events.") else path.name for path in folder.iterdir()}


def metrics_of(folder: Path) -> Any:
    """The content of the ``result.json`` of a run."""
    return json.loads((folder / "result.json").read_text())


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``metrics.jsonl``."""
    return [json.loads(line) for line in path.read_text().splitlines()]
