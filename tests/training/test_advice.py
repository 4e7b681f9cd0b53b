import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pkdot.config import OptimConfig
from pkdot.training.advice import (
    absurd_weights,
    best_was_last,
    classes_without_samples,
    no_better_than_chance,
    not_ahead,
)
from pkdot.training.student import StudentResult, distill
from pkdot.training.teacher import train_teacher
from tests.support import student_config, teacher_config, write_vectors


def test_a_best_epoch_that_was_the_last_is_told() -> None:
    told = best_was_last("teacher", best_epoch=19, epochs=20, score=0.8)
    assert told == "teacher: the best epoch was the last of 20; more --epochs may help."


@pytest.mark.parametrize(("best_epoch", "score"), [(18, 0.8), (0, 0.8), (19, 1.0)])
def test_an_earlier_best_epoch_and_a_perfect_one_are_not(best_epoch: int, score: float) -> None:
    assert best_was_last("teacher", best_epoch, 20, score) is None


# 100 targets, 60 of one class: the standard error of 0.6 is 0.049, so that 0.698 is the limit.
@pytest.mark.parametrize(("accuracy", "told"), [(0.2, True), (0.6, True), (0.69, True), (0.70, False), (1.0, False)])
def test_an_accuracy_is_compared_with_the_most_frequent_class(accuracy: float, told: bool) -> None:
    sentence = no_better_than_chance("teacher", "accuracy", {"accuracy": accuracy}, [0.0] * 40 + [1.0] * 60)
    assert (sentence is not None) == told
    assert sentence is None or "most frequent class gives 0.600" in sentence


@pytest.mark.parametrize("metric", ["ccc", "qwk"])
@pytest.mark.parametrize(("value", "told"), [(-0.5, True), (0.0, True), (0.19, True), (0.21, False)])
def test_agreement_is_compared_with_none(metric: str, value: float, told: bool) -> None:
    sentence = no_better_than_chance("teacher", metric, {metric: value}, [float(i) for i in range(100)])
    assert (sentence is not None) == told


@pytest.mark.parametrize("targets", [[], [1.0], [0.0, 1.0], [1.0] * 50])
def test_nothing_is_said_where_no_accuracy_could_be_told_from_chance(targets: list[float]) -> None:
    assert no_better_than_chance("teacher", "accuracy", {"accuracy": 0.0}, targets) is None


def test_few_values_have_no_agreement_to_speak_of() -> None:
    assert no_better_than_chance("teacher", "ccc", {"ccc": 0.0}, [0.1, 0.2, 0.3]) is None


@pytest.mark.parametrize(("teacher", "control", "told"), [(0.7, 0.7, True), (0.6, 0.7, True), (0.71, 0.7, False)])
def test_a_teacher_that_is_not_ahead_is_told(teacher: float, control: float, told: bool) -> None:
    assert (not_ahead("accuracy", teacher, control) is not None) == told


def test_declared_classes_that_never_occur_are_named() -> None:
    assert "class 'b' has no labelled sample" in str(classes_without_samples(("a", "b", "c"), [0.0, 2.0, 2.0]))
    assert "classes 'a', 'c' have" in str(classes_without_samples(("a", "b", "c"), [1.0]))
    assert classes_without_samples(("a", "b"), [1.0, 0.0, 1.0]) is None
    assert classes_without_samples((), [0.3]) is None  # a regression


@pytest.mark.parametrize("weight", [0.0, 1e-9, 1e9, float("inf"), float("nan")])
def test_an_absurd_weight_is_named(weight: float) -> None:
    told = str(absurd_weights({"ot": 0.6, "kd": weight}, factor=8.0))
    assert f"kd {weight:.4g}" in told
    assert "ot" not in told.split(")")[0]


def test_usual_weights_and_a_factor_of_zero_are_not_told() -> None:
    assert absurd_weights({"ot": 0.6, "pkt": 240_000.0, "hint": 1e-4}, factor=0.5) is None
    assert absurd_weights({"ot": 0.0}, factor=0.0) is None


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_teacher_of_noise_is_told_in_lines_of_their_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_vectors(tmp_path / "data", names=("low", "high", "never"), per_subject=6)
    rows = (data / "samples.csv").read_text().replace("never", "high")
    (data / "samples.csv").write_text(rows)
    generator = np.random.default_rng(0)
    for name, width in (("weak", 4), ("strong", 3)):
        np.save(data / f"{name}.npy", generator.normal(size=(72, width)).astype(np.float32))
    config = teacher_config(data, tmp_path / "runs")
    config.optim = OptimConfig(epochs=1)
    train_teacher(config)
    told = warnings_of(caplog)
    assert ["class 'never'" in line for line in told] == [True, False, False]
    assert "the best epoch was the last of 1" in told[1]
    assert "not clearly above chance" in told[2]
    assert all(line.startswith("warning: ") and "\n" not in line for line in told)


def test_a_run_without_trouble_warns_of_nothing(
    vectors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = student_config(vectors, tmp_path)
    config.optim = OptimConfig(epochs=20, batch_size=16, patience=2)
    distill(config)
    assert warnings_of(caplog) == []


def test_a_control_that_matches_the_teacher_is_told(
    vectors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(student_config(vectors, tmp_path), with_control=True)
    result = distill(config)
    assert not any("not ahead" in line for line in warnings_of(caplog)) or result.gap_closed is None
    caplog.clear()
    constant = {"accuracy": 0.75, "macro_f1": 0.75}
    monkeypatch.setattr("pkdot.training.evaluation.Predictions.metrics", lambda self, task: dict(constant))
    result = distill(replace(config, run=replace(config.run, out=tmp_path / "other")))
    assert isinstance(result, StudentResult)
    assert "accuracy 0.750 against 0.750" in warnings_of(caplog)[-1]


def test_a_loss_without_gradient_is_told(
    vectors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pkdot.training.student.StudentObjective.balance", lambda self, *_: {"ot": 0.0})
    distill(student_config(vectors, tmp_path))
    assert any("balanced weight is absurd (ot 0)" in line for line in warnings_of(caplog))
