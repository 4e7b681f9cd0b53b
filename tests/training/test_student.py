from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pkdot.training.run_folder import RunResult
from pkdot.training.student import distill
from pkdot.training.teacher import train_teacher
from tests.support import run_files, student_config, teacher_config, write_vectors
from tests.training.test_teacher import RUN_FILES


def test_a_student_run_leaves_every_file_of_the_run_folder(vectors: Path, teacher: RunResult, tmp_path: Path) -> None:
    config = replace(student_config(vectors, tmp_path, teacher=teacher.folder.path, method="ot"), with_control=True)
    result = distill(config)
    assert run_files(result.student.folder.path) == RUN_FILES | {"structure.png", "control"}
    assert result.control is not None
    assert run_files(result.control.folder.path) == RUN_FILES
    assert result.student.result["weights"]["ot"] > 0


def test_a_hallucinating_student_learns_the_privileged_stream(
    vectors: Path, teacher: RunResult, tmp_path: Path
) -> None:
    config = replace(student_config(vectors, tmp_path, teacher=teacher.folder.path, method="ot"), with_control=True)
    config.model.student = "hallucinating"
    result = distill(config)
    assert result.control is not None
    assert '"student": "visual"' in result.control.folder.metadata.read_text()
    assert '"student": "hallucinating"' in result.student.folder.metadata.read_text()


def test_the_teacher_does_not_change_while_a_student_learns(vectors: Path, teacher: RunResult, tmp_path: Path) -> None:
    before = load_file(teacher.folder.best)
    distill(student_config(vectors, tmp_path, teacher=teacher.folder.path))
    after = load_file(teacher.folder.best)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_without_a_teacher_one_is_trained_first_and_then_found_again(vectors: Path, tmp_path: Path) -> None:
    first = distill(student_config(vectors, tmp_path))
    second = distill(student_config(vectors, tmp_path))
    assert first.teacher is not None
    assert second.teacher is not None
    assert first.teacher.folder == second.teacher.folder


def test_a_teacher_with_more_labels_is_used_with_a_warning(
    vectors: Path, teacher: RunResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = student_config(vectors, tmp_path, teacher=teacher.folder.path)
    config.data.labels = 0.3
    distill(config)
    assert "come from the teacher's labels" in caplog.text


def test_a_teacher_of_another_split_is_refused(vectors: Path, teacher: RunResult, tmp_path: Path) -> None:
    config = student_config(vectors, tmp_path, teacher=teacher.folder.path)
    config.data.split_seed = 1
    with pytest.raises(ValueError, match="another data set or split"):
        distill(config)
    assert not list(tmp_path.iterdir())


def test_a_teacher_of_other_modalities_is_refused(vectors: Path, tmp_path: Path) -> None:
    other = train_teacher(teacher_config(write_vectors(tmp_path / "other", task="regression"), tmp_path / "runs"))
    with pytest.raises(ValueError, match="trained for regression of answer"):
        distill(student_config(vectors, tmp_path / "students", teacher=other.folder.path))


def test_a_student_run_is_no_teacher(vectors: Path, tmp_path: Path) -> None:
    student = distill(student_config(vectors, tmp_path, method="none")).student
    with pytest.raises(ValueError, match="holds a student, not a teacher"):
        distill(student_config(vectors, tmp_path, teacher=student.folder.path))


def test_a_setting_that_the_method_does_not_take_is_refused(vectors: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="topk means nothing to method 'kd'"):
        distill(student_config(vectors, tmp_path, method="kd", topk=4))


def test_few_labels_leave_unlabelled_pairs_to_distil(vectors: Path, tmp_path: Path) -> None:
    config = student_config(vectors, tmp_path)
    config.data.labels = 0.3
    result = distill(config)
    assert result.student.result["label_share"] < 0.5
    assert result.teacher is not None
    assert result.teacher.result["label_digest"] == result.student.result["label_digest"]
