"""What is reported is the selected model on the test split, sample by sample, and a student's data are its own."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pkdot.config import StudentRunConfig, TeacherRunConfig
from pkdot.data.study import Study, open_study
from pkdot.students import STUDENTS
from pkdot.teachers import TEACHERS
from pkdot.training.objectives import TaskObjective
from pkdot.training.run_folder import RunFolder, RunResult
from pkdot.training.student import StudentResult, distill
from pkdot.training.teacher import train_teacher
from tests.support import student_config, teacher_config, write_vectors


def answers(config: TeacherRunConfig | StudentRunConfig, folder: RunFolder) -> tuple[Study, torch.Tensor]:
    """The saved model's answers to the test split, one sample after the other, without the package's loop or loader."""
    study = open_study(config.data, config.optim, 0)
    student = isinstance(config, StudentRunConfig)
    kinds, kind = (STUDENTS, config.model.student) if student else (TEACHERS, config.model.teacher)
    model = kinds[kind](study.schema, config.model)
    model.load_state_dict(load_file(folder.best))
    model.eval()
    names = study.schema.prevalent if student else tuple(study.schema.modalities)
    data = Path(config.data.source)
    with torch.no_grad():
        found = [
            model({name: torch.from_numpy(np.load(data / f"{name}.npy")[index])[None] for name in names}).prediction
            for index in study.splits.test
        ]
    return study, torch.cat(found)


def assert_reported(config: TeacherRunConfig | StudentRunConfig, run: RunResult) -> None:
    study, logits = answers(config, run.folder)
    records = study.records(study.splits.test)
    truth = np.array([int(record.target[0]) for record in records])  # type: ignore[index]
    chosen = logits.argmax(1).numpy()
    assert run.metrics["accuracy"] == pytest.approx((chosen == truth).mean())
    assert run.result["samples"] == len(truth)
    with run.folder.predictions.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["subject"]) for row in rows] == [(record.id, record.subject) for record in records]
    assert [row["answer"] for row in rows] == [("low", "high")[level] for level in truth]
    assert [row["predicted_answer"] for row in rows] == [("low", "high")[level] for level in chosen]
    told = np.array([[float(row["p_low"]), float(row["p_high"])] for row in rows])
    assert np.allclose(told, logits.softmax(1).numpy(), atol=1e-5)


@pytest.mark.parametrize("best", [0, 1, 2])
def test_the_selected_model_is_tested_and_not_the_last(
    vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: int
) -> None:
    config = teacher_config(vectors, tmp_path)
    config.optim.epochs, config.optim.lr = 3, 0.05
    scores = iter(0.9 if epoch == best else 0.1 for epoch in range(3))
    monkeypatch.setattr(TaskObjective, "validate", lambda self: {"score": next(scores), "loss": 1.0})
    run = train_teacher(config)
    assert run.result["best_epoch"] == best
    assert run.result["validation"]["score"] == 0.9
    assert_reported(config, run)


def test_a_students_report_is_that_of_its_saved_model(vectors: Path, teacher: RunResult, tmp_path: Path) -> None:
    config = student_config(vectors, tmp_path, teacher=teacher.folder.path, method="kd")
    run = distill(config).student
    assert_reported(config, run)
    assert (run.result["kind"], run.result["split"]) == ("student", "test")


def test_validation_scores_are_those_of_the_validation_split(vectors: Path, tmp_path: Path) -> None:
    config = teacher_config(vectors, tmp_path)
    config.optim.epochs = 1
    run = train_teacher(config)
    study = open_study(config.data, config.optim, 0)
    model = TEACHERS[config.model.teacher](study.schema, config.model)
    model.load_state_dict(load_file(run.folder.best))
    arrays = {name: torch.from_numpy(np.load(vectors / f"{name}.npy")[study.splits.val]) for name in ("weak", "strong")}
    with torch.no_grad():
        logits = model.eval()(arrays).prediction
    truth = torch.tensor([int(record.target[0]) for record in study.records(study.splits.val)])  # type: ignore[index]
    told = run.result["validation"]
    assert told["score"] == told["accuracy"] == pytest.approx(float((logits.argmax(1) == truth).float().mean()))
    assert told["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, truth)), rel=1e-4)


def changed(data: Path, name: str, copy: Path, rows: np.ndarray | None = None) -> Path:
    """The data set with other numbers in one modality, in some rows or in all."""
    write_vectors(copy)
    array = np.load(data / f"{name}.npy")
    rows = np.arange(len(array)) if rows is None else rows
    array[rows] = np.random.default_rng(9).normal(size=array[rows].shape)
    np.save(copy / f"{name}.npy", array)
    return copy


def test_a_student_without_a_teacher_knows_nothing_of_the_privileged_modality(vectors: Path, tmp_path: Path) -> None:
    other = changed(vectors, "strong", tmp_path / "other")
    weights = [
        load_file(distill(student_config(data, tmp_path / data.name, method="none")).student.folder.best)
        for data in (vectors, other)
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_student_is_handed_prevalent_modalities_only_and_a_teacher_all(
    vectors: Path, teacher: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[str]] = {"student": set(), "teacher": set()}

    def watching(kind: type[nn.Module], role: str) -> type[nn.Module]:
        class Watching(kind):  # type: ignore[misc, valid-type]
            def forward(self, modalities, present=None):  # type: ignore[no-untyped-def]
                seen[role] |= set(modalities) | set(present or {})
                return super().forward(modalities, present)

        return Watching

    monkeypatch.setitem(STUDENTS, "visual", watching(STUDENTS["visual"], "student"))
    monkeypatch.setitem(TEACHERS, "cross-attention", watching(TEACHERS["cross-attention"], "teacher"))
    distill(student_config(vectors, tmp_path, teacher=teacher.folder.path, method="ot"))
    assert seen == {"student": {"weak"}, "teacher": {"weak", "strong"}}


def test_a_teacher_without_the_privileged_modality_knows_nothing_of_it(vectors: Path, tmp_path: Path) -> None:
    weights = []
    for data in (vectors, changed(vectors, "strong", tmp_path / "other")):
        config = teacher_config(data, tmp_path / "runs")
        config.privileged = False
        weights.append(load_file(train_teacher(config).folder.best))
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize("split", ["test", "unlabelled"])
def test_what_may_not_be_seen_changes_no_weight(vectors: Path, tmp_path: Path, split: str) -> None:
    """Neither the test split's values and answers, nor the answers of samples whose label is not given."""
    config = student_config(vectors, tmp_path / "runs", method="kd")
    config.data.labels = 0.5
    study = open_study(config.data, config.optim, 0)
    hidden = study.splits.test if split == "test" else np.flatnonzero(~study.labelled)
    other = changed(vectors, "weak", tmp_path / "other", hidden if split == "test" else np.array([], int))
    lines = (other / "samples.csv").read_text().splitlines()
    for index in hidden:
        # The other answer: splits and labels are drawn by the classes that people have, so that both stay as they are.
        swap = {"low": "high", "high": "low"}
        name, subject, answer = lines[index + 1].split(",")
        lines[index + 1] = f"{name},{subject},{swap[answer]}"
    (other / "samples.csv").write_text("\n".join(lines) + "\n")
    first = distill(config)
    config.data.source, config.run.out = str(other), tmp_path / "others"
    second = distill(config)
    for one, two in ((first.teacher, second.teacher), (first.student, second.student)):
        assert one is not None
        assert two is not None
        assert one.result["split_digest"] == two.result["split_digest"]
        weights, others = load_file(one.folder.best), load_file(two.folder.best)
        assert all(torch.equal(value, others[name]) for name, value in weights.items())
        assert one.result["validation"] == two.result["validation"]
    if split == "test":
        assert first.student.folder.predictions.read_text() != second.student.folder.predictions.read_text()


def test_the_seed_decides_the_first_weights_and_the_data_do_not(vectors: Path, tmp_path: Path) -> None:
    """With a learning rate of almost 0 a run ends with the weights that it began with."""
    config = student_config(vectors, tmp_path, method="none")
    config.optim.epochs, config.optim.lr = 1, 1e-30
    found = []
    for seed, label_seed in ((0, 0), (0, 4), (1, 0)):
        config.run.seed, config.data.label_seed, config.data.labels = seed, label_seed, 0.5
        found.append(load_file(distill(config).student.folder.best))
    matrices = [name for name, value in found[0].items() if value.ndim > 1]
    assert matrices
    assert all(torch.equal(found[0][name], found[1][name]) for name in matrices)
    assert not any(torch.equal(found[0][name], found[2][name]) for name in matrices)


def test_the_control_is_the_same_student_without_the_teacher(vectors: Path, teacher: RunResult, tmp_path: Path) -> None:
    config = student_config(vectors, tmp_path / "both", teacher=teacher.folder.path, method="kd", weight=5.0)
    config.with_control = True
    both = distill(config)
    alone = distill(student_config(vectors, tmp_path / "alone", method="none")).student
    assert both.control is not None
    control, student = load_file(both.control.folder.best), load_file(both.student.folder.best)
    assert all(torch.equal(value, control[name]) for name, value in load_file(alone.folder.best).items())
    assert any(not torch.equal(value, control[name]) for name, value in student.items())


@pytest.mark.parametrize(("student", "closed"), [(0.5, 0.0), (0.9, 1.0), (0.6, 0.25), (0.4, -0.25), (1.0, 1.25)])
def test_the_gap_closed_is_the_share_of_the_teachers_lead(teacher: RunResult, student: float, closed: float) -> None:
    def run(accuracy: float) -> RunResult:
        return RunResult(teacher.folder, {"primary_metric": "accuracy", "metrics": {"accuracy": accuracy, "qwk": 3.0}})

    assert StudentResult(run(student), run(0.9), run(0.5)).gap_closed == pytest.approx(closed)
    assert StudentResult(run(student), run(0.5), run(0.5)).gap_closed is None
    assert StudentResult(run(student), run(0.4), run(0.5)).gap_closed is None
    assert StudentResult(run(student), None, run(0.5)).gap_closed is None


def test_the_result_has_the_figures_of_teacher_and_control(vectors: Path, teacher: RunResult, tmp_path: Path) -> None:
    config = student_config(vectors, tmp_path, teacher=teacher.folder.path, method="kd")
    config.with_control = True
    found = distill(config)
    told = json.loads(found.student.folder.result.read_text())
    assert found.control is not None
    assert told["teacher_metrics"] == teacher.metrics
    assert told["control_metrics"] == found.control.metrics
    assert told["gap_closed"] == found.gap_closed
