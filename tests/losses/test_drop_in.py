"""The losses in somebody else's training: a plain loop, a Lightning module and an Accelerate loop."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pkdot import OTDistillLoss
from pkdot.losses import HintLoss, KDLoss, SPLoss

EMBEDDING, PREDICTION = 0, 1
LOSSES = {
    "ot": (EMBEDDING, 1.0, lambda: OTDistillLoss(topk=4)),
    "sp": (EMBEDDING, 100.0, SPLoss),
    "kd": (PREDICTION, 1.0, KDLoss),
}
WITH_PARAMETERS = {**LOSSES, "hint": (EMBEDDING, 1.0, lambda: HintLoss(student_width=6, teacher_width=8))}


class Student(nn.Module):
    """Three features to an embedding and two logits."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head = nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.trunk(x).tanh()
        return embedding, self.head(embedding)


def samples() -> DataLoader[tuple[Tensor, ...]]:
    """What the student sees, what the teacher knew of it (embedding and logits), and the class."""
    generator = torch.Generator().manual_seed(0)
    known = torch.randn(48, 8, generator=generator)
    seen = known[:, :3] + 0.1 * torch.randn(48, 3, generator=generator)
    logits = 3 * torch.stack([known[:, 0], -known[:, 0]], -1)
    return DataLoader(TensorDataset(seen, known, logits, (known[:, 0] > 0).long()), batch_size=16)


def step_loss(
    student: nn.Module, criterion: nn.Module, compares: int, weight: float, batch: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """The sum that is minimised, and the distillation loss in it."""
    seen, known, logits, target = batch
    output = student(seen)
    distillation = criterion(output[compares], (known, logits)[compares])
    return nn.functional.cross_entropy(output[1], target) + weight * distillation, distillation


def last_and_first(values: list[float]) -> tuple[float, float]:
    return sum(values[-3:]), sum(values[:3])


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_a_plain_loop_learns_from_the_teacher(name: str) -> None:
    torch.manual_seed(0)
    compares, weight, make = WITH_PARAMETERS[name]
    student, criterion, values = Student(), make(), []
    optimizer = torch.optim.Adam([*student.parameters(), *criterion.parameters()], lr=2e-2)
    for _ in range(15):
        for batch in samples():
            loss, distillation = step_loss(student, criterion, compares, weight, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(distillation.item())
    last, first = last_and_first(values)
    assert last < 0.9 * first


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LOSSES)
def test_a_lightning_module_learns_from_the_teacher(name: str, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    torch.manual_seed(0)
    compares, weight, make = LOSSES[name]
    values: list[float] = []

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.student, self.criterion = Student(), make()

        def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
            loss, distillation = step_loss(self.student, self.criterion, compares, weight, batch)
            values.append(distillation.item())
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=2e-2)

    trainer = lightning.Trainer(
        max_epochs=15,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Module(), samples())
    last, first = last_and_first(values)
    assert last < 0.9 * first


@pytest.mark.parametrize("name", LOSSES)
def test_an_accelerate_loop_learns_from_the_teacher_also_in_bfloat16(name: str) -> None:
    accelerate = pytest.importorskip("accelerate")
    torch.manual_seed(0)
    compares, weight, make = LOSSES[name]
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
    student, criterion, values = Student(), make(), []
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-2)
    student, optimizer, loader = accelerator.prepare(student, optimizer, samples())
    for _ in range(15):
        for batch in loader:
            with accelerator.autocast():
                loss, distillation = step_loss(student, criterion, compares, weight, batch)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            values.append(distillation.item())
            assert distillation.dtype == torch.float32
    last, first = last_and_first(values)
    assert last < 0.9 * first
