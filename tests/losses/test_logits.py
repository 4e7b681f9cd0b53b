import json
from pathlib import Path

import pytest
import torch

from pkdot.losses import KDLoss, kd_loss

FILE = json.loads((Path(__file__).parent / "vectors.json").read_text())


@pytest.mark.parametrize("temperature", [1, 4])
def test_kd_agrees_with_published_values_and_gradients(temperature: int) -> None:
    student = torch.tensor(FILE["inputs"]["student_logits"], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor(FILE["inputs"]["teacher_logits"], dtype=torch.float64)
    loss = kd_loss(student, teacher, temperature=float(temperature))
    (gradient,) = torch.autograd.grad(loss, student)
    expected = FILE["vectors"][f"kd_T{temperature}"]
    assert loss.item() == pytest.approx(expected["loss"], abs=1e-6)
    assert gradient.norm().item() == pytest.approx(expected["grad_norm"], abs=1e-6)


def test_kd_equals_torch_kl_div() -> None:
    student, teacher = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    expected = 4 * torch.nn.functional.kl_div(
        (student / 2).log_softmax(-1), (teacher / 2).softmax(-1), reduction="batchmean"
    )
    torch.testing.assert_close(KDLoss(temperature=2.0)(student, teacher), expected)


def test_kd_passes_gradcheck_and_detaches_the_teacher() -> None:
    student, teacher = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    student.requires_grad_(), teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: kd_loss(z, teacher.detach()), student)
    kd_loss(student, teacher).backward()
    assert teacher.grad is None


def test_kd_survives_large_logits_and_half_precision() -> None:
    student = torch.tensor([[900.0, -900.0], [0.0, 1.0]], dtype=torch.float16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = kd_loss(student, -student.detach())
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert kd_loss(student, student).item() == 0


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (torch.ones(4, 3), torch.ones(4, 2), r"outputs have shapes \(4, 3\) and \(4, 2\)"),
        (torch.ones(4, 1), torch.ones(4, 1), "C >= 2"),
        (torch.ones(4, 3) * torch.nan, torch.ones(4, 3), "student has NaN"),
    ],
)
def test_kd_says_what_it_expected(student: torch.Tensor, teacher: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kd_loss(student, teacher)
    with pytest.raises(ValueError, match="temperature is 0"):
        KDLoss(temperature=0.0)
