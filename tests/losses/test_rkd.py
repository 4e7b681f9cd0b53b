"""The angles of RKD, which are computed block by block with a gradient of their own."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pkdot.losses import rkd, rkd_loss

Pair = tuple[Tensor, Tensor]


def pair(batch: int, *leading: int, student: int = 5, teacher: int = 3) -> Pair:
    generator = torch.Generator().manual_seed(batch)
    made = [
        torch.randn(*leading, batch, width, generator=generator, dtype=torch.float64) for width in (student, teacher)
    ]
    return made[0].requires_grad_(), made[1]


def angles(z: Tensor) -> Tensor:
    """Cosines at i between j and l, straight from the definition."""
    apart = z.unsqueeze(-3) - z.unsqueeze(-2)
    directions = functional.normalize(apart, dim=-1)
    return torch.einsum("...ijd,...ild->...ijl", directions, directions)


def reference(student: Tensor, teacher: Tensor) -> Tensor:
    return functional.smooth_l1_loss(angles(student), angles(teacher))


def value_and_gradient(loss: Tensor, student: Tensor) -> Pair:
    return loss.detach(), torch.autograd.grad(loss, student)[0]


@pytest.mark.parametrize("entries", [1, 60, 10**6], ids=["a sample a block", "some samples a block", "one block"])
@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_angles_are_those_of_the_definition_however_they_are_cut(
    entries: int, leading: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rkd, "_BLOCK_ENTRIES", entries)
    student, teacher = pair(7, *leading)
    found = value_and_gradient(rkd_loss(student, teacher, distance=0, angle=1), student)
    torch.testing.assert_close(found, value_and_gradient(reference(student, teacher), student))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_angles_in_single_precision_know_no_scale(scale: float) -> None:
    student, teacher = pair(6)
    expected, gradient = value_and_gradient(reference(student, teacher), student)
    scaled = (scale * student.detach()).float().requires_grad_()
    found = value_and_gradient(rkd_loss(scaled, scale * teacher.float(), distance=0, angle=1), scaled)
    torch.testing.assert_close(found[0], expected.float())
    torch.testing.assert_close(scale * found[1].double(), gradient, rtol=1e-4, atol=1e-6)


def test_close_samples_keep_their_directions() -> None:
    student, teacher = pair(6)
    with torch.no_grad():
        student[1] = student[0] + 1e-6 * student[2]
    found = value_and_gradient(rkd_loss(student, teacher, distance=0, angle=1), student)
    torch.testing.assert_close(found, value_and_gradient(reference(student, teacher), student))


def test_equal_samples_are_pulled_alike_and_not_apart() -> None:
    student, teacher = pair(6)
    with torch.no_grad():
        student[1], teacher[1] = student[0], teacher[0]
    _, gradient = value_and_gradient(rkd_loss(student, teacher, distance=0, angle=1), student)
    torch.testing.assert_close(gradient[0], gradient[1])
    assert gradient.isfinite().all()


def test_the_gradient_is_of_first_order() -> None:
    student, teacher = pair(4)
    (gradient,) = torch.autograd.grad(rkd_loss(student, teacher, distance=0).square(), student, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_compiled_step_gives_the_same() -> None:
    student, teacher = pair(5)
    compiled = torch.compile(lambda z: rkd_loss(z, teacher), backend="eager")
    torch.testing.assert_close(
        value_and_gradient(compiled(student), student), value_and_gradient(rkd_loss(student, teacher), student)
    )
