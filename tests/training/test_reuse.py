"""A run or a teacher is reused only where the same one would be made now."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pkdot.config import StudentRunConfig
from pkdot.data.study import open_study
from pkdot.storage import FolderInUse, locked
from pkdot.training.find_teacher import as_teacher
from pkdot.training.fingerprint import (
    NO_TEACHER,
    Fingerprint,
    read_fingerprint,
    student_fingerprint,
    teacher_fingerprint,
)
from pkdot.training.run_folder import RunResult
from pkdot.training.state import Training
from pkdot.training.student import distill
from pkdot.training.teacher import train_teacher
from tests.support import student_config, teacher_config, write_vectors


def teachers(out: Path) -> set[str]:
    return {path.parent.name for path in out.glob("*/result.json") if json.loads(path.read_text())["kind"] == "teacher"}


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def student_of(config: StudentRunConfig, teacher: str = "t") -> Fingerprint:
    study = open_study(config.data, config.optim, config.run.seed)
    return student_fingerprint(config, study, teacher)


def teacher_of(config: StudentRunConfig) -> Fingerprint:
    study = open_study(config.data, config.optim, config.run.seed)
    return teacher_fingerprint(as_teacher(config), study)


SETTINGS: dict[str, tuple[Callable[[StudentRunConfig], object], bool, bool]] = {
    "epochs": (lambda c: setattr(c.optim, "epochs", 3), True, True),
    "lr": (lambda c: setattr(c.optim, "lr", 0.01), True, True),
    "batch": (lambda c: setattr(c.optim, "batch_size", 8), True, True),
    "patience": (lambda c: setattr(c.optim, "patience", 2), True, True),
    "task loss": (lambda c: setattr(c.optim, "task_loss", "corn"), True, True),
    "width": (lambda c: setattr(c.model, "width", 4), True, True),
    "seed": (lambda c: setattr(c.run, "seed", 1), True, True),
    "split": (lambda c: setattr(c.data, "split_seed", 1), True, True),
    "labels": (lambda c: setattr(c.data, "labels", 0.3), True, True),
    "noise": (lambda c: setattr(c.data, "label_noise", 0.5), True, True),
    "folds": (lambda c: setattr(c.data, "folds", 3), True, True),
    "augment": (lambda c: setattr(c.data, "augment", False), True, True),
    "teacher": (lambda c: setattr(c.model, "teacher", "concat"), True, False),
    "student": (lambda c: setattr(c.model, "student", "hallucinating"), False, True),
    "method": (lambda c: setattr(c.distill, "method", "kd"), False, True),
    "topk": (lambda c: setattr(c.distill, "topk", 3), False, True),
    "blur": (lambda c: setattr(c.distill, "blur", 0.2), False, True),
    "set": (lambda c: setattr(c.distill, "settings", ("debias=false",)), False, True),
    "weight": (lambda c: setattr(c.distill, "weight", 1.0), False, True),
    "balance": (lambda c: setattr(c.distill, "balance", 2.0), False, True),
    "input": (lambda c: setattr(c.distill, "teacher_input", "augmented"), False, True),
    # What changes no result.
    "threads": (lambda c: setattr(c.run, "threads", 3), False, False),
    "out": (lambda c: setattr(c.run, "out", Path("elsewhere")), False, False),
    "name": (lambda c: setattr(c.run, "name", "mine"), False, False),
    "pictures": (lambda c: setattr(c.run, "picture_epochs", 0), False, False),
    "states": (lambda c: setattr(c.run, "checkpoint_steps", 7), False, False),
    "memory": (lambda c: setattr(c.data, "cache_mb", 1), False, False),
    "workers": (lambda c: setattr(c.data, "workers", 1), False, False),
    "of another kind of data": (lambda c: setattr(c.data, "frames", 4), False, False),
    "of another encoder": (lambda c: setattr(c.model, "signal", "spectrogram"), False, False),
    "of another method": (lambda c: setattr(c.distill, "kd_temperature", 4.0), False, False),
    "of mt-ot": (lambda c: setattr(c.distill, "alignment_epochs", 3), False, False),
    "the factor that auto stands for": (lambda c: setattr(c.distill, "balance", 0.5), False, False),
    "the topk that auto stands for": (lambda c: setattr(c.distill, "topk", 0.125), False, False),
    "the label seed that nothing is drawn with": (lambda c: setattr(c.data, "label_seed", 5), False, False),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_changes_the_fingerprint_of_what_it_touches_alone(vectors: Path, tmp_path: Path, name: str) -> None:
    change, touches_teacher, touches_student = SETTINGS[name]
    before, after = student_config(vectors, tmp_path), student_config(vectors, tmp_path)
    change(after)
    if name == "task loss":
        before.data.source = after.data.source = str(write_vectors(tmp_path / "levels", task="ordinal"))
    assert (teacher_of(before).digest != teacher_of(after).digest) == touches_teacher
    assert (student_of(before).digest != student_of(after).digest) == touches_student


@pytest.mark.parametrize(("name", "value"), [("method", "kd"), ("blur", 0.5), ("balance", 3.0), ("topk", 2)])
def test_a_student_without_a_teacher_has_no_part_in_settings_of_distillation(
    vectors: Path, tmp_path: Path, name: str, value: object
) -> None:
    before, after = student_config(vectors, tmp_path), student_config(vectors, tmp_path)
    setattr(after.distill, name, value)
    assert student_of(before, NO_TEACHER).digest == student_of(after, NO_TEACHER).digest


def test_differences_name_both_values() -> None:
    was, asked = Fingerprint({"optim.epochs": 1, "seed": 0}), Fingerprint({"optim.epochs": 20, "seed": 0, "x": 3})
    assert was.differences(asked) == ["optim.epochs 1 instead of 20", "x unknown instead of 3"]
    assert was.differences(asked, but=("x", "optim.epochs")) == []
    assert was.differences(was) == []


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '{"seed": 0}', '{"digest": "0", "seed": 0}', "[" * 100_000])
def test_a_damaged_fingerprint_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fingerprint.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"fingerprint\.json"):
        read_fingerprint(path)


def test_a_teacher_of_other_settings_is_not_taken(
    vectors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    smoke = student_config(vectors, tmp_path)
    smoke.optim.epochs = 1
    distill(smoke)
    first = teachers(tmp_path)
    caplog.clear()
    with caplog.at_level("INFO", "pkdot"):
        result = distill(student_config(vectors, tmp_path))
    assert result.teacher is not None
    assert {result.teacher.folder.path.name} == teachers(tmp_path) - first
    (told,) = [record.getMessage() for record in caplog.records if "training a teacher first" in record.getMessage()]
    assert "optim.epochs 1 instead of 2" in told
    assert str(tmp_path / next(iter(first))) in told
    again = distill(smoke)
    assert again.teacher is not None
    assert {again.teacher.folder.path.name} == first


def test_a_teacher_of_changed_data_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, out = write_vectors(tmp_path / "toy"), tmp_path / "runs"
    distill(student_config(data, out))
    flip_a_byte(data / "strong.npy")
    with caplog.at_level("INFO", "pkdot"):
        distill(student_config(data, out))
    assert len(teachers(out)) == 2
    assert "has other data" in caplog.text


def test_a_teacher_of_another_seed_is_not_taken(vectors: Path, tmp_path: Path) -> None:
    for seed in (0, 1, 0, 1):
        config = student_config(vectors, tmp_path)
        config.run.seed = seed
        distill(config)
    assert len(teachers(tmp_path)) == 2


def test_a_named_teacher_is_taken_with_a_warning_of_what_differs(
    vectors: Path, teacher: RunResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = student_config(vectors, tmp_path, teacher=teacher.folder.path)
    distill(config)
    assert "is not what this run would train" not in caplog.text
    config.optim.epochs, config.model.width = 1, 4
    result = distill(config)
    assert result.teacher is not None
    assert result.teacher.folder == teacher.folder
    assert "it has model.width 8 instead of 4, optim.epochs 2 instead of 1" in caplog.text


def test_a_named_teacher_may_have_a_seed_of_its_own(
    vectors: Path, teacher: RunResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = student_config(vectors, tmp_path, teacher=teacher.folder.path)
    config.run.seed = 5
    distill(config)
    assert "is not what this run would train" not in caplog.text


def test_a_folder_with_one_teacher_names_it(vectors: Path, tmp_path: Path) -> None:
    made = train_teacher(teacher_config(vectors, tmp_path / "teachers"))
    result = distill(student_config(vectors, tmp_path / "students", teacher=tmp_path / "teachers"))
    assert result.teacher is not None
    assert result.teacher.folder.path == made.folder.path
    train_teacher(teacher_config(vectors, tmp_path / "teachers", seed=1))
    with pytest.raises(ValueError, match=r"one teacher run in it; found .*-teacher-toy, .*-teacher-toy"):
        distill(student_config(vectors, tmp_path / "students", teacher=tmp_path / "teachers"))
    with pytest.raises(ValueError, match="found none"):
        distill(student_config(vectors, tmp_path, teacher=vectors.parent))


@pytest.mark.parametrize("odd", ["[]", "3", "null", "{", "{}", '{"kind": "teacher", "metrics": {}}', "[" * 100_000])
def test_an_odd_result_of_another_run_is_passed_over(vectors: Path, tmp_path: Path, odd: str) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "result.json").write_text(odd)
    assert distill(student_config(vectors, tmp_path)).teacher is not None


def stopped_run(config: StudentRunConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A student whose training broke off after its first epoch."""
    save = Training.save
    with monkeypatch.context() as patch:

        def broken(training: Training, path: Path) -> None:
            save(training, path)
            raise RuntimeError("power failure")

        patch.setattr(Training, "save", broken)
        with pytest.raises(RuntimeError, match="power failure"):
            distill(config)
    (folder,) = [path for path in config.run.out.iterdir() if not (path / "result.json").exists()]
    return folder


def test_resuming_with_changed_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_vectors(tmp_path / "toy")
    teacher = train_teacher(teacher_config(data, tmp_path / "teachers"))
    config = student_config(data, tmp_path / "runs", teacher=teacher.folder.path)
    folder = stopped_run(config, monkeypatch)
    flip_a_byte(data / "weak.npy")
    config.run.resume = folder
    with pytest.raises(ValueError, match=r"begun with other settings or data: other data\."):
        distill(config)
    flip_a_byte(data / "weak.npy")
    assert distill(config).student.folder.path == folder


def test_resuming_with_another_teacher_in_its_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_vectors(tmp_path / "toy")
    teacher = train_teacher(teacher_config(data, tmp_path / "teachers"))
    config = student_config(data, tmp_path / "runs", teacher=teacher.folder.path)
    folder = stopped_run(config, monkeypatch)
    other = train_teacher(teacher_config(data, tmp_path / "others", seed=1))
    config = replace(config, teacher=other.folder.path)
    config.run.resume = folder
    with pytest.raises(ValueError, match="other settings or data: another teacher"):
        distill(config)


def test_a_run_in_the_hands_of_another_process_is_not_resumed(
    vectors: Path, teacher: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = student_config(vectors, tmp_path, teacher=teacher.folder.path)
    folder = stopped_run(config, monkeypatch)
    config.run.resume = folder
    before = (folder / "metrics.jsonl").read_bytes()
    with locked(folder), pytest.raises(FolderInUse, match="in use by process"):
        distill(config)
    assert (folder / "metrics.jsonl").read_bytes() == before
    distill(config)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_changed_array_makes_another_fingerprint(tmp_path: Path) -> None:
    data = write_vectors(tmp_path / "toy")
    config = student_config(data, tmp_path)
    before = student_of(config)
    weak = np.load(data / "weak.npy")
    np.save(data / "weak.npy", weak)
    assert student_of(config).digest == before.digest
    weak[-1, -1] = np.nextafter(weak[-1, -1], np.float32(9))
    np.save(data / "weak.npy", weak)
    assert student_of(config).differences(before) == ["other data"]
