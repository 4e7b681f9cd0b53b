"""The weight of a distillation loss: from the gradients of task and loss, and from nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pkdot.losses.logits import KDLoss
from pkdot.model import Output
from pkdot.training.distillation import Distillation
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.network import Network
from pkdot.training.objectives import StudentObjective, TaskObjective
from pkdot.training.run_folder import RunResult
from pkdot.training.student import distill
from tests.support import student_config
from tests.training.toys import SCHEMA, InMemory, Model, loader_of

CPU = torch.device("cpu")
BALANCED_BATCHES = 8


class Distance(nn.Module):
    """Some multiple of the mean squared difference of embeddings."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return self.scale * (student - teacher).square().mean()


class Constant(nn.Module):
    """A loss whose gradient is 0."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return student.sum() * 0.0


def task_of(student: nn.Module, dataset: InMemory) -> TaskObjective:
    return TaskObjective(Network(student, ("weak",), CPU), SCHEMA.task, loader_of(dataset))


def objective_of(
    criteria: dict[str, nn.Module], shares: dict[str, float], factor: float = 1.0
) -> tuple[StudentObjective, Model, Model, InMemory]:
    dataset = InMemory(40)
    student, teacher = Model("weak", seed=1), Model("weak", "strong", seed=2)
    rows = {record.id: row for row, record in enumerate(dataset.records)}
    distillation = Distillation(criteria, shares, SCHEMA.task, rows=rows)
    frozen = FrozenTeacher(Network(teacher, ("weak", "strong"), CPU), 5)
    made = StudentObjective(task_of(student, dataset), distillation, frozen, factor=factor)
    return made, student, teacher, dataset


def gradients(student: Model, teacher: Model, dataset: InMemory, labelled: np.ndarray | None = None) -> Tensor:
    """Sums over the first batches of |d task / d z|, |d kd / d z| and |d mean squared difference / d z|, by hand."""
    sums = torch.zeros(3)
    for number, batch in enumerate(loader_of(dataset, labelled).epoch(0)):
        if number == BALANCED_BATCHES:
            break
        z = student(batch.modalities).embedding.detach().requires_grad_()
        answers, known = student.head(z), teacher(batch.modalities)
        task = nn.functional.cross_entropy(answers[batch.labelled], batch.target[batch.labelled], reduction="mean")
        kd = KDLoss()(answers, known.prediction.detach())
        distance = (z - known.embedding.detach()).square().mean()
        for place, loss in enumerate((task, kd, distance)):
            sums[place] += torch.autograd.grad(loss, z, retain_graph=True)[0].norm()
    return sums


@pytest.mark.parametrize("factor", [0.5, 8.0])
def test_a_weight_is_the_tasks_gradient_over_the_losss_times_the_factor(factor: float) -> None:
    objective, student, teacher, dataset = objective_of({"distance": Distance(1.0)}, {"distance": 1.0}, factor)
    task, _, distance = gradients(student, teacher, dataset)
    assert not 0.8 < task / distance < 1.25  # or its inverse would do as well
    objective.start(loader_of(dataset))
    assert objective.weights == {"distance": pytest.approx(factor * float(task / distance), rel=1e-4)}


def test_shares_divide_the_factor_among_the_losses() -> None:
    criteria = {"distance": Distance(1.0), "kd": KDLoss()}
    objective, student, teacher, dataset = objective_of(criteria, {"distance": 3.0, "kd": 1.0}, factor=2.0)
    task, kd, distance = gradients(student, teacher, dataset)
    found = objective.balance(loader_of(dataset))
    assert found["distance"] == pytest.approx(2.0 * 0.75 * float(task / distance), rel=1e-4)
    assert found["kd"] == pytest.approx(2.0 * 0.25 * float(task / kd), rel=1e-4)


def test_a_loss_in_other_units_weighs_the_same() -> None:
    plain, *_, dataset = objective_of({"distance": Distance(1.0)}, {"distance": 1.0})
    large, *_ = objective_of({"distance": Distance(1000.0)}, {"distance": 1.0})
    weights = [objective.balance(loader_of(dataset))["distance"] for objective in (plain, large)]
    assert weights[0] == pytest.approx(1000 * weights[1], rel=1e-4)


def test_a_loss_without_a_gradient_gets_no_weight() -> None:
    objective, *_, dataset = objective_of({"nothing": Constant()}, {"nothing": 1.0})
    assert objective.balance(loader_of(dataset)) == {"nothing": 0.0}


def test_the_first_batches_alone_are_looked_at_and_unlabelled_samples_count_for_the_loss_alone() -> None:
    objective, student, teacher, dataset = objective_of({"distance": Distance(1.0)}, {"distance": 1.0})
    labelled = np.arange(40) % 4 != 1
    labelled[4 * BALANCED_BATCHES :] = False
    task, _, distance = gradients(student, teacher, dataset, labelled)
    found = objective.balance(loader_of(dataset, labelled))
    assert found["distance"] == pytest.approx(float(task / distance), rel=1e-4)


def test_a_step_minimises_the_task_loss_and_each_loss_times_its_weight() -> None:
    criteria = {"distance": Distance(1.0), "kd": KDLoss()}
    objective, student, teacher, dataset = objective_of(criteria, {"distance": 1.0, "kd": 1.0})
    objective.weights = {"distance": 0.25, "kd": 3.0}
    for batch in loader_of(dataset, np.arange(40) % 4 != 1).epoch(0):
        output, known = student(batch.modalities), teacher(batch.modalities)
        task = nn.functional.cross_entropy(output.prediction[batch.labelled], batch.target[batch.labelled])
        distance = (output.embedding - known.embedding).square().mean()
        kd = KDLoss()(output.prediction, known.prediction)
        losses = objective.losses(batch)
        assert torch.allclose(losses["loss"], task + 0.25 * distance + 3.0 * kd, rtol=1e-4)
        assert torch.allclose(losses["task"], task, rtol=1e-4)
        assert torch.allclose(losses["kd"], kd, rtol=1e-4)


class WithRunningStatistics(Model):
    """A student whose every forward pass in training leaves a trace, with dropout."""

    def __init__(self) -> None:
        super().__init__("weak", seed=1)
        self.norm, self.dropout = nn.BatchNorm1d(5), nn.Dropout(0.5)

    def forward(self, modalities, present=None):  # type: ignore[no-untyped-def]
        embedding = self.dropout(self.norm(self.encoders["weak"](modalities["weak"])))
        return Output(embedding, self.head(embedding), {})


def test_balancing_leaves_no_trace_and_follows_from_the_seed() -> None:
    dataset, frozen = InMemory(40), FrozenTeacher(Network(Model("weak", "strong", seed=2), ("weak", "strong"), CPU), 5)
    found = []
    for seed in (0, 0, 1):
        distillation = Distillation({"distance": Distance(1.0)}, {"distance": 1.0}, SCHEMA.task, rows={})
        student = WithRunningStatistics()
        objective = StudentObjective(task_of(student, dataset), distillation, frozen, seed=seed)
        before = {name: value.clone() for name, value in student.state_dict().items()}
        found.append(objective.balance(loader_of(dataset))["distance"])
        assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
        assert all(parameter.grad is None for parameter in student.parameters())
    assert found[0] == found[1] != found[2]


class Elsewhere(nn.Module):
    """A loss that knows nothing of the student's embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return self.weight * teacher.sum()


def test_what_cannot_be_balanced_is_refused() -> None:
    objective, *_, dataset = objective_of({"elsewhere": Elsewhere()}, {"elsewhere": 1.0})
    with pytest.raises(ValueError, match="does not depend on the model's embedding"):
        objective.balance(loader_of(dataset))
    distillation = Distillation({}, {}, SCHEMA.task, rows={})
    alone = StudentObjective(task_of(Model("weak"), dataset), distillation, None)
    with pytest.raises(ValueError, match="there is none"):
        alone.balance(loader_of(dataset))
    (batch,) = loader_of(dataset, batch_size=40).epoch(0)
    losses = alone.losses(batch)
    assert losses.keys() == {"loss", "task"}
    assert torch.equal(losses["loss"], losses["task"])


def test_the_weights_are_part_of_the_state() -> None:
    objective, *_, dataset = objective_of({"distance": Distance(1.0)}, {"distance": 1.0})
    objective.start(loader_of(dataset))
    resumed, *_ = objective_of({"distance": Distance(1.0)}, {"distance": 1.0})
    resumed.restore(objective.state())
    assert resumed.weights == objective.weights != {}


def test_a_hallucinating_student_also_minimises_its_hallucinations() -> None:
    class Hallucinating(Model):
        def hallucination_loss(self, output: Output, teacher_streams: dict[str, Tensor]) -> Tensor:
            return (output.streams["weak"] - teacher_streams["strong"]).square().mean()

    objective, _, teacher, dataset = objective_of({"distance": Distance(1.0)}, {"distance": 1.0})
    student = Hallucinating("weak", seed=1)
    objective.network = replace(objective.network, model=student)
    objective.weights = {"distance": 2.0}
    (batch,) = loader_of(dataset, batch_size=40).epoch(0)
    losses = objective.losses(batch)
    output, known = student(batch.modalities), teacher(batch.modalities)
    imagined = (output.streams["weak"] - known.streams["strong"]).square().mean()
    distance = (output.embedding - known.embedding).square().mean()
    assert torch.allclose(losses["hallucination"], imagined, rtol=1e-4)
    assert torch.allclose(losses["loss"], losses["task"] + 2.0 * distance + imagined, rtol=1e-4)


def balanced(vectors: Path, teacher: RunResult, out: Path, labels: float, balance: float | str) -> float:
    config = student_config(vectors, out, teacher=teacher.folder.path, method="kd", balance=balance)
    config.data.labels, config.optim.epochs = labels, 1
    weight: float = distill(config).student.result["weights"]["kd"]
    return weight


@pytest.mark.parametrize(("labels", "share", "factor"), [(0.34, 1 / 3, 8.0), (0.5, 1 / 2, 0.5), (1.0, 1.0, 0.5)])
def test_few_labels_weigh_the_teacher_sixteen_times_as_much(
    vectors: Path, teacher: RunResult, tmp_path: Path, labels: float, share: float, factor: float
) -> None:
    config = student_config(vectors, tmp_path / "auto", teacher=teacher.folder.path, method="kd")
    config.data.labels, config.optim.epochs = labels, 1
    run = distill(config).student
    assert run.result["label_share"] == pytest.approx(share)
    given = balanced(vectors, teacher, tmp_path / "given", labels, factor)
    assert run.result["weights"]["kd"] == pytest.approx(given, rel=1e-6)
    one = balanced(vectors, teacher, tmp_path / "one", labels, 1.0)
    assert given == pytest.approx(factor * one, rel=1e-6)
