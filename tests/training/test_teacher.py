import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from pkdot.config import TeacherRunConfig
from pkdot.data.manifest import Manifest
from pkdot.data.study import open_study
from pkdot.training import loop
from pkdot.training.run_folder import RunResult
from pkdot.training.teacher import train_teacher
from tests.support import rows_of, run_files, teacher_config, write_vectors

RUN_FILES = {
    ".lock",
    "config.toml",
    "fingerprint.json",
    "versions.json",
    "metrics.jsonl",
    "tensorboard",
    "last.pt",
    "best.safetensors",
    "best.json",
    "predictions.csv",
    "result.json",
}


def test_a_teacher_run_leaves_every_file_of_the_run_folder(teacher: RunResult) -> None:
    assert run_files(teacher.folder.path) == RUN_FILES


def test_a_row_an_epoch_stands_in_the_metrics(teacher: RunResult) -> None:
    rows = rows_of(teacher.folder.metrics)
    assert [row["epoch"] for row in rows] == [0, 1]
    assert {"accuracy", "macro_f1", "score", "loss"} <= rows[0]["val"].keys()


def test_a_prediction_a_test_sample_stands_in_the_csv(teacher: RunResult) -> None:
    lines = teacher.folder.predictions.read_text().splitlines()
    assert lines[0] == "id,subject,answer,predicted_answer,p_low,p_high"
    assert len(lines) == 1 + teacher.result["samples"]


def test_a_teacher_learns_what_its_modalities_tell(vectors: Path, tmp_path: Path) -> None:
    config = teacher_config(vectors, tmp_path)
    config.optim.epochs = 8
    assert train_teacher(config).metrics["accuracy"] > 0.9


def test_equal_seeds_give_equal_weights_and_others_do_not(vectors: Path, teacher: RunResult, tmp_path: Path) -> None:
    again = train_teacher(teacher_config(vectors, tmp_path))
    other = train_teacher(teacher_config(vectors, tmp_path, seed=1))
    assert again.folder.best.read_bytes() == teacher.folder.best.read_bytes()
    assert again.folder.metrics.read_bytes() == teacher.folder.metrics.read_bytes()
    assert other.folder.best.read_bytes() != teacher.folder.best.read_bytes()


def test_test_data_are_read_only_after_the_model_is_selected(
    vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = teacher_config(vectors, tmp_path)
    study = open_study(config.data, config.optim, 0)
    test = set(study.splits.test.tolist())
    events: list[str] = []
    read, read_together, fit = Manifest.read, Manifest.read_together, loop.fit

    def note(indices: Sequence[int]) -> None:
        events.extend("test" if index in test else "other" for index in indices)

    def watched_read(self: Manifest, index: int) -> object:
        note([index])
        return read(self, index)

    def watched_read_together(self: Manifest, indices: Sequence[int]) -> object:
        note(indices)
        return read_together(self, indices)

    def watched_fit(*args: object, **kwargs: object) -> object:
        progress = fit(*args, **kwargs)  # type: ignore[arg-type]
        events.append("selected")
        return progress

    monkeypatch.setattr(Manifest, "read", watched_read)
    monkeypatch.setattr(Manifest, "read_together", watched_read_together)
    monkeypatch.setattr("pkdot.training.run.fit", watched_fit)
    train_teacher(config)
    selected = events.index("selected")
    assert "test" not in events[:selected]
    assert events[selected + 1 :].count("test") == len(test)


def test_a_diverging_run_says_so(vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = teacher_config(vectors, tmp_path)
    monkeypatch.setattr("pkdot.tasks.Task.task_loss", lambda self, prediction, *_: prediction.sum() * math.nan)
    with pytest.raises(ValueError, match="diverged in epoch 0, step 0"):
        train_teacher(config)
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_values_overflow_says_where_and_which(
    vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = teacher_config(vectors, tmp_path)
    monkeypatch.setattr("pkdot.tasks.functional.cross_entropy", lambda prediction, _: prediction.sum() * math.inf)
    with pytest.raises(ValueError, match=r"diverged in epoch 0, step 0: the loss between prediction .* Try a lower"):
        train_teacher(config)


@pytest.mark.parametrize("task", ["regression", "ordinal"])
def test_other_tasks_train_to_the_end(tmp_path: Path, task: str) -> None:
    data = write_vectors(tmp_path / "data", task=task)
    config: TeacherRunConfig = teacher_config(data, tmp_path / "runs")
    result = train_teacher(config).result
    assert result["primary_metric"] == {"regression": "ccc", "ordinal": "qwk"}[task]
    assert result["primary_metric"] in result["metrics"]


def test_training_stops_when_patience_runs_out(vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = teacher_config(vectors, tmp_path)
    config.optim.epochs, config.optim.patience = 9, 2
    flat = {"score": 0.5, "loss": 1.0}
    monkeypatch.setattr("pkdot.training.objectives.TaskObjective.validate", lambda self: dict(flat))
    run = train_teacher(config)
    assert len(rows_of(run.folder.metrics)) == 3
    assert run.result["best_epoch"] == 0
