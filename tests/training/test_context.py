"""What a loss between student and teacher gets for each sample: its row, target, label and the teacher's output."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from pkdot.data.batch import Batch
from pkdot.data.study import open_study
from pkdot.losses.base import Context, DistillationLoss
from pkdot.model import Output
from pkdot.tasks import Task
from pkdot.training.distillation import Distillation, _Context
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.network import Network
from pkdot.training.student import distill
from pkdot.training.teacher import train_teacher
from tests.data.test_study import write_signals
from tests.support import student_config, teacher_config
from tests.training.toys import SCHEMA, InMemory, Model, loader_of

CPU = torch.device("cpu")


class Curious(DistillationLoss):
    """A loss that keeps all that it gets."""

    needs = ("index", "target", "labelled", "teacher_prediction")

    def __init__(self) -> None:
        super().__init__()
        self.received: list[dict[str, Tensor]] = []

    def forward(self, student: Tensor, teacher: Tensor, **context: Tensor) -> Tensor:
        self.received.append({"student": student, "teacher": teacher, **context})
        return (student - teacher).square().mean()


class CuriousOfPredictions(Curious):
    """The same of the predictions."""

    inputs = "prediction"


@pytest.mark.parametrize("kind", [Curious, CuriousOfPredictions])
def test_each_sample_comes_with_its_own_row_target_label_and_teachers_answer(kind: type[Curious]) -> None:
    dataset, student, teacher = InMemory(20), Model("weak", seed=1), Model("weak", "strong", seed=2)
    rows = {record.id: 5 * number + 2 for number, record in enumerate(dataset.records)}
    criterion = kind()
    distillation = Distillation({"curious": criterion}, {"curious": 1.0}, SCHEMA.task, rows=rows)
    frozen = FrozenTeacher(Network(teacher, ("weak", "strong"), CPU), 5)
    labelled = np.arange(20) % 4 != 1
    for batch in loader_of(dataset, labelled, shuffle=True, seed=2).epoch(1):
        output, known = student(batch.modalities), frozen(batch)
        found = distillation(output, known, batch)
        received = criterion.received[-1]
        numbers = torch.tensor([int(name[1:]) for name in batch.ids])
        assert torch.equal(received["index"], 5 * numbers + 2)
        assert torch.equal(received["labelled"], torch.from_numpy(labelled)[numbers])
        assert torch.equal(received["target"], torch.where(received["labelled"], numbers % 3, 0))
        assert torch.equal(received["student"], getattr(output, kind.inputs))
        assert torch.equal(received["teacher"], getattr(known, kind.inputs))
        assert torch.equal(received["teacher_prediction"], known.prediction)
        assert torch.equal(found["curious"], (received["student"] - received["teacher"]).square().mean())


def test_the_context_has_every_argument_that_a_loss_may_need() -> None:
    assert {name for name, value in vars(_Context).items() if isinstance(value, property)} == {
        *get_args(Context),
        "_aligned",
    }


def test_a_loss_gets_a_regressions_targets_in_the_heads_units() -> None:
    task = Task("regression", ("answer",), center=(3.0,), spread=(2.0,))
    criterion = Curious()
    distillation = Distillation({"curious": criterion}, {"curious": 1.0}, task, rows={"a": 0, "b": 1})
    output = Output(torch.zeros(2, 5), torch.zeros(2, 1))
    labelled = torch.tensor([True, True])
    distillation(output, output, Batch(("b", "a"), {}, {}, torch.tensor([[5.0], [3.0]]), labelled))
    assert criterion.received[0]["target"].tolist() == [[1.0], [0.0]]
    assert criterion.received[0]["index"].tolist() == [1, 0]


@pytest.mark.parametrize(("teacher_input", "augment"), [("clean", True), ("augmented", True), ("augmented", False)])
def test_the_teacher_sees_samples_as_they_are_unless_it_is_to_see_what_the_student_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher_input: str, augment: bool
) -> None:
    data = write_signals(tmp_path / "signals")
    teacher = train_teacher(teacher_config(data, tmp_path / "teachers")).folder.path
    config = student_config(data, tmp_path / "runs", teacher=teacher, method="kd", teacher_input=teacher_input)
    config.data.augment, config.optim.epochs = augment, 2
    known: list[tuple[str, Tensor]] = []
    forward = Distillation.forward

    def watched(self: Distillation, output: Output, answer: Output, batch: Batch) -> dict[str, Tensor]:
        assert output.embedding.requires_grad
        known.extend(zip(batch.ids, answer.embedding, strict=True))
        return forward(self, output, answer, batch)

    monkeypatch.setattr(Distillation, "forward", watched)
    distill(config)
    clean = FrozenTeacher.load(teacher, CPU).predict(open_study(config.data, config.optim, 0).train_clean())
    rows = dict(zip(clean.ids, clean.embedding, strict=True))
    as_it_is = [torch.allclose(embedding, rows[name], atol=1e-5) for name, embedding in known]
    assert len(known) >= 2 * len(rows)
    assert all(as_it_is) if teacher_input == "clean" or not augment else not any(as_it_is)
