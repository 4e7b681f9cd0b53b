import pytest
import torch

from pkdot.losses import LOSSES


def test_losses_are_modules_that_say_what_they_take() -> None:
    assert set(LOSSES) >= {"none", "ot", "structure-mse", "structure-kl", "kd"}
    for name, loss in LOSSES.items():
        assert issubclass(loss, torch.nn.Module), name
        assert loss.inputs in ("embedding", "prediction"), name  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["none", "ot", "structure-mse", "structure-kl", "kd"])
def test_losses_map_student_and_teacher_to_a_scalar_with_gradient(name: str) -> None:
    student, teacher = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
    student.requires_grad_()
    loss = LOSSES[name]()(student, teacher)
    loss.backward()
    assert loss.shape == ()
    assert student.grad is not None
    assert bool(student.grad.any()) == (name != "none")
