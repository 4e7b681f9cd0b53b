import pytest
import torch
from torch import Tensor

from pkdot import OTDistillLoss, sinkhorn_divergence
from pkdot.transport.histograms import histogram_divergence


def cost(x: Tensor, y: Tensor) -> Tensor:
    return (x.unsqueeze(-2) - y.unsqueeze(-3)).square().sum(-1) / 2


def histograms(problems: int, k: int, *, shared: bool) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, problems, k, generator=generator, dtype=torch.float64).softmax(-1)
    support = 0.1 * torch.randn(1 if shared else problems, k, 3, generator=generator, dtype=torch.float64)
    return a, b, cost(support, support)


@pytest.mark.parametrize("shared", [True, False])
def test_histogram_divergence_is_that_of_weighted_points(shared: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64).softmax(-1)
    b[0, 2] = 0
    b[0] /= b[0].sum()
    support = 0.1 * torch.randn(1 if shared else 4, 6, 3, generator=generator, dtype=torch.float64)
    expected = sinkhorn_divergence(support.expand(4, 6, 3), support.expand(4, 6, 3), a=a, b=b, tol=1e-6)
    torch.testing.assert_close(
        histogram_divergence(a, b, cost(support, support), tol=1e-6), expected, rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("debias", [True, False])
def test_histogram_divergence_passes_gradcheck(shared: bool, debias: bool) -> None:
    _, b, matrix = histograms(3, 4, shared=shared)
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64).requires_grad_()

    def divergence(z: Tensor) -> Tensor:
        return histogram_divergence(z.softmax(-1), b, matrix, blur=0.3, debias=debias, tol=1e-9)

    assert torch.autograd.gradcheck(divergence, logits)


def test_shared_and_repeated_costs_give_the_same() -> None:
    a, b, matrix = histograms(5, 6, shared=True)
    expected = histogram_divergence(a, b, matrix.repeat(5, 1, 1), tol=1e-6)
    torch.testing.assert_close(histogram_divergence(a, b, matrix, tol=1e-6), expected, rtol=1e-5, atol=0)


def test_shared_costs_may_be_large_too(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, matrix = histograms(5, 6, shared=True)
    expected = histogram_divergence(a, b, matrix)
    monkeypatch.setattr("pkdot.transport.solvers.sinkhorn.SMALL", 4)
    torch.testing.assert_close(histogram_divergence(a, b, matrix), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_equal_histograms_on_far_points_have_no_gradient(shared: bool) -> None:
    # Nothing but the common start fixes the potentials here: each point is on its own.
    a, _, matrix = histograms(4, 6, shared=shared)
    a.requires_grad_()
    loss = histogram_divergence(a, a.detach(), 500 * matrix)
    (gradient,) = torch.autograd.grad(loss.sum(), a)
    assert loss.abs().max() <= 1e-9
    assert gradient.abs().max() <= 1e-6


@pytest.mark.filterwarnings("error")
def test_histograms_on_nearly_one_point_are_solved_without_going_in_circles() -> None:
    # A smaller marginal error at a smaller dual value once was taken for progress, and undone, a thousand times.
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(6, (128,), generator=generator)
    centres = torch.randn(6, 64, generator=generator)
    teacher, student = (
        share * centres[classes] + 0.3 * torch.randn(128, 64, generator=generator) for share in (1.0, 0.5)
    )
    value = OTDistillLoss(topk=16, transport="anchors", select="shared")(student, teacher)
    exact = OTDistillLoss(topk=16, transport="anchors", select="shared", tol=1e-8)(student.double(), teacher.double())
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-7)
