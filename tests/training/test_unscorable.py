"""Splits on which the task's metric cannot be computed, such as the one sample of a subject who is left out."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pkdot.cli import distill
from pkdot.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TeacherRunConfig
from pkdot.tasks import Task
from pkdot.training.evaluation import Predictions
from pkdot.training.teacher import train_teacher
from tests.support import write_vectors


def loso(data: Path, out: Path, epochs: int = 4) -> TeacherRunConfig:
    return TeacherRunConfig(
        DataConfig(source=str(data), folds="loso"),
        ModelConfig(width=8),
        OptimConfig(epochs=epochs, batch_size=4, lr=0.05, patience=2),
        RunConfig(out=out),
    )


@pytest.mark.filterwarnings("ignore:.*split has no ccc")
def test_a_validation_split_without_a_ccc_selects_by_the_squared_error(tmp_path: Path) -> None:
    config = loso(write_vectors(tmp_path / "toy", subjects=6, per_subject=1, task="regression"), tmp_path)
    with pytest.warns(UserWarning, match="toy: the test split has no ccc, since .*: its result is 0"):
        run = train_teacher(config)
    rows = [json.loads(line) for line in (run.folder.path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["val"]["loss"] for row in rows]
    assert {row["val"]["score"] for row in rows} == {0.0}
    assert len(set(losses)) == len(losses) > 2
    assert run.result["best_epoch"] == np.argmin(losses) > 0


def predictions_of(target: list[list[float]], answer: list[list[float]], labelled: list[bool]) -> Predictions:
    n = len(target)
    ids = tuple(map(str, range(n)))
    return Predictions(ids, torch.tensor(answer), torch.zeros(n, 1), {}, torch.tensor(target), torch.tensor(labelled))


def test_the_squared_error_is_that_of_the_labelled_samples_and_stands_in_for_no_other_loss() -> None:
    task = Task("regression", ("value",), center=(1.0,), spread=(2.0,))
    flat = predictions_of([[3.0], [3.0], [9.0]], [[2.0], [4.0], [5.0]], [True, True, False])
    assert flat.task_loss(task) == pytest.approx(((2 - 1) ** 2 + (4 - 1) ** 2) / 2)
    spread = predictions_of([[3.0], [1.0], [9.0]], [[1.0], [0.0], [5.0]], [True, True, False])
    assert spread.task_loss(task) == pytest.approx(0.0)  # 1 - CCC: 1 and 0 are 3 and 1 in the target's own units
    assert flat.task_loss(task.with_loss("mse")) == flat.task_loss(task)


def test_a_command_says_it_once_of_each_split_and_writes_its_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_vectors(tmp_path / "toy", subjects=4, per_subject=1, task="regression")
    words = ["--data", str(data), "--data.folds", "loso", "--method", "mse", "--epochs", "1", "--optim.batch-size", "4"]
    assert distill.main([*words, "--with-control", "--out", str(tmp_path / "runs")]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "has no ccc" in line]
    beginning = "warning: toy: the {} split has no ccc, since it has one labelled sample: "
    assert told == [
        beginning.format("validation") + "the model is selected by its loss there.",
        beginning.format("test") + "its result is 0, which says nothing.",
    ]


@pytest.mark.filterwarnings("error")
def test_an_accuracy_of_one_sample_is_no_cause_for_a_warning(tmp_path: Path) -> None:
    data = write_vectors(tmp_path / "toy", subjects=1, per_subject=6)
    text = (data / "samples.csv").read_text()
    (data / "samples.csv").write_text(re.sub(r"s(\d+),p00", r"s\1,p\1", text))
    run = train_teacher(loso(data, tmp_path, epochs=1))
    with run.folder.predictions.open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert run.metrics["accuracy"] == (row["answer"] == row["predicted_answer"])
