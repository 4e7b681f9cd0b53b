"""Whatever changes a result changes the fingerprint of its run, and what changes none does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pkdot.config import StudentRunConfig
from pkdot.data.splits import Splits
from pkdot.data.study import Study, open_study
from pkdot.training import fingerprint
from pkdot.training.find_teacher import as_teacher
from pkdot.training.fingerprint import student_fingerprint, teacher_digest, teacher_fingerprint
from pkdot.training.run_folder import RunResult
from tests.support import student_config, write_vectors

CHANGES: dict[str, tuple[str, Any]] = {
    "epochs": ("optim.epochs", 3),
    "batch size": ("optim.batch_size", 8),
    "learning rate": ("optim.lr", 0.1),
    "decay": ("optim.weight_decay", 0.2),
    "warm-up": ("optim.warmup", 0.3),
    "clip": ("optim.clip", 0.5),
    "patience": ("optim.patience", 3),
    "seed": ("run.seed", 1),
    "width": ("model.width", 6),
    "augmentation": ("data.augment", False),
    "share of labels": ("data.labels", 0.5),
    "wrong labels": ("data.label_noise", 0.5),
    "split": ("data.split_seed", 1),
    "size of the test split": ("data.test", 0.5),
    "size of the validation split": ("data.val", 0.4),
}
OF_A_STUDENT: dict[str, tuple[str, Any]] = {
    "method": ("distill.method", "sp"),
    "share": ("distill.method", "kd+2*ot"),
    "weight": ("distill.weight", 2.0),
    "balance": ("distill.balance", 3.0),
    "temperature": ("distill.kd_temperature", 3.0),
    "input of the teacher": ("distill.teacher_input", "augmented"),
    "architecture": ("model.student", "hallucinating"),
}
WITHOUT_EFFECT: dict[str, tuple[str, Any]] = {
    "threads": ("run.threads", 2),
    "name": ("run.name", "other"),
    "folder": ("run.out", Path("elsewhere")),
    "states": ("run.checkpoint_steps", 5),
    "pictures": ("run.picture_epochs", 1),
    "workers": ("data.workers", 1),
    "cache": ("data.cache_mb", 1),
}


def changed(config: StudentRunConfig, setting: str, value: object) -> StudentRunConfig:
    section, _, name = setting.partition(".")
    return replace(config, **{section: replace(getattr(config, section), **{name: value})})


def digests(config: StudentRunConfig, study: Study | None = None, teacher: str = "t") -> tuple[str, str]:
    """Of the student's run, and of its teacher's."""
    study = study or open_study(config.data, config.optim, config.run.seed)
    return (
        student_fingerprint(config, study, teacher).digest,
        teacher_fingerprint(as_teacher(config), study).digest,
    )


@pytest.fixture(scope="module")
def config(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> StudentRunConfig:
    return student_config(vectors, tmp_path_factory.mktemp("runs"), method="kd+ot")


@pytest.mark.parametrize("name", [*CHANGES, *OF_A_STUDENT])
def test_what_changes_a_result_changes_the_fingerprint(config: StudentRunConfig, name: str) -> None:
    student, teacher = digests(changed(config, *(CHANGES | OF_A_STUDENT)[name]))
    usual = digests(config)
    assert student != usual[0]
    assert (teacher != usual[1]) == (name in CHANGES)


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_changes_no_result_changes_no_fingerprint(config: StudentRunConfig, name: str) -> None:
    assert digests(changed(config, *WITHOUT_EFFECT[name])) == digests(config)


def test_each_thing_that_is_known_of_the_data_counts_by_itself(config: StudentRunConfig) -> None:
    plain = open_study(config.data, config.optim, 0)
    splits = plain.splits
    swapped = replace(plain, splits=Splits(splits.train, splits.test, splits.val))
    labelled = np.array(plain.labelled)
    labelled[splits.train[0]] = False
    fewer = replace(plain, labelled=labelled)
    assert swapped.label_digest == plain.label_digest != fewer.label_digest
    assert fewer.split_digest == plain.split_digest != swapped.split_digest
    found = [digests(config, study) for study in (plain, swapped, fewer)]
    assert len({student for student, _ in found}) == len({teacher for _, teacher in found}) == 3


@pytest.mark.parametrize("changed", ["weak.npy", "strong.npy", "samples.csv"])
def test_another_byte_in_the_data_makes_another_run(tmp_path: Path, changed: str) -> None:
    config = student_config(write_vectors(tmp_path / "toy"), tmp_path, method="kd")
    before = digests(config)
    path = Path(config.data.source) / changed
    content = bytearray(path.read_bytes())
    content[-2] ^= 1 if changed.endswith(".npy") else 0
    path.write_bytes(bytes(content) if changed.endswith(".npy") else bytes(content).replace(b"p00", b"p99"))
    after = digests(config)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_another_teacher_makes_another_student(config: StudentRunConfig) -> None:
    assert digests(config, teacher="one")[0] != digests(config, teacher="other")[0]


def test_a_teacher_of_an_older_version_is_named_by_its_weights(teacher: RunResult, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.toml", "best.safetensors", "best.json", "result.json"):
        (copy / name).write_bytes((teacher.folder.path / name).read_bytes())
    digest = teacher_digest(copy)
    assert digest.startswith("weights ")
    assert len(digest) == len("weights ") + 64
    assert digest != teacher_digest(teacher.folder.path) != teacher_digest(None)


def test_the_noise_on_vectors_counts_where_it_is_added(
    config: StudentRunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = changed(config, "data.augment", False)
    before = digests(config), digests(plain)
    monkeypatch.setattr(fingerprint, "VECTOR_NOISE", 0.5)
    noisy, quiet = digests(config), digests(plain)
    assert noisy[0] != before[0][0]
    assert noisy[1] != before[0][1]
    assert quiet == before[1]
