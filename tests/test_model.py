"""What a model may answer, and what the trainers say of anything else."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.model import Output, build
from pkdot.students import STUDENTS
from pkdot.teachers import TEACHERS
from pkdot.training.student import distill
from pkdot.training.teacher import train_teacher
from tests.support import student_config, teacher_config, write_vectors
from tests.training.toys import SCHEMA

WEAK = {"weak": torch.zeros(6, 4)}


def answering(answer: Callable[[Tensor], object]) -> type[nn.Module]:
    """A model that answers anything."""

    class Odd(nn.Module):
        def __init__(self, schema: Schema, config: ModelConfig) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(4, config.width), nn.Linear(config.width, schema.task.head_size)

        def forward(self, modalities: dict[str, Tensor], present: object = None) -> object:
            return answer(self.embed(modalities["weak"]))

    return Odd


ODD = [
    (lambda z: z, "returned a Tensor; expected Output(embedding, prediction)"),
    (lambda z: (z, z), "returned a tuple; expected Output(embedding, prediction)"),
    (lambda z: Output(z[:, :5], z[:, :3]), "returned embedding of shape (6, 5); expected (6, 8)"),
    (lambda z: Output(z[:2], z[:, :3]), "returned embedding of shape (2, 8); expected (6, 8)"),
    (lambda z: Output(z, z), "returned prediction of shape (6, 8); expected (6, 3)"),
    (lambda z: Output(z, z[:1, :3]), "returned prediction of shape (1, 3); expected (6, 3)"),
    (lambda z: Output(z[:, :, None], z[:, :3]), "returned embedding of shape (6, 8, 1); expected (6, 8)"),
]


@pytest.mark.parametrize(("answer", "told"), ODD)
def test_an_answer_that_breaks_the_contract_is_told(answer: Callable[[Tensor], object], told: str) -> None:
    model = build(answering(answer), SCHEMA, ModelConfig(width=8))
    with pytest.raises(ValueError, match=r"^Odd ") as mistake:
        model(WEAK)
    assert told in str(mistake.value)


def test_an_answer_that_keeps_it_is_passed_on() -> None:
    model = build(answering(lambda z: Output(z, z[:, :3])), SCHEMA, ModelConfig(width=8))
    assert model(WEAK).embedding.shape == (6, 8)


@pytest.mark.parametrize("kinds", [STUDENTS, TEACHERS])
def test_a_trainer_refuses_it_and_leaves_nothing(
    kinds: dict[str, type[nn.Module]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, runs = write_vectors(tmp_path / "data"), tmp_path / "runs"
    monkeypatch.setitem(kinds, "odd", answering(lambda z: z))
    teacher, student = teacher_config(data, runs), student_config(data, runs, method="none")
    teacher.model.teacher = student.model.student = "odd"
    train = (lambda: train_teacher(teacher)) if kinds is TEACHERS else (lambda: distill(student))
    with pytest.raises(ValueError, match="Odd returned a Tensor; expected Output"):
        train()
    assert not runs.exists()
