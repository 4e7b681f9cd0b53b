"""Clouds beyond Newton's reach: one kernel matrix at a time."""

import math

import pytest
import torch
from torch import Tensor

from pkdot import anchor_clouds, sinkhorn_divergence
from pkdot.transport.problem import Clouds, Goal
from pkdot.transport.solvers.large import couple_large


def clouds(n: int, k: int, m: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(n, k, generator=generator, dtype=torch.float64)
    return x, 0.3 * torch.randn(m or n, k, generator=generator, dtype=torch.float64) + 0.1


def structure_clouds() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(2, 4, 32, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, 48, 32, generator=generator, dtype=torch.float64)
    classes = torch.arange(48) % 4
    return anchor_clouds(0.5 * centres[0][classes] + noise[0], centres[1][classes] + noise[1], 12)


CASES = {"16x4": clouds(16, 4), "64x8": clouds(64, 8), "unequal": clouds(40, 4, 25), "structure": structure_clouds()}


@pytest.fixture
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pkdot.transport.solvers.sinkhorn.SMALL", 4)
    monkeypatch.setattr("pkdot.transport.solvers.large._BLOCK_ENTRIES", 100)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_sweeps_over_large_clouds_agree_with_newton_steps(
    case: str, dtype: torch.dtype, request: pytest.FixtureRequest
) -> None:
    x, y = (torch.stack([z, 3 * z, 0 * z]).to(dtype).requires_grad_() for z in CASES[case])
    expected = sinkhorn_divergence(x, y, backend="torch")
    gradients = torch.autograd.grad(expected.sum(), (x, y))
    request.getfixturevalue("nothing_is_small")
    loss, info = sinkhorn_divergence(x, y, backend="torch", return_info=True)
    assert info.converged.all()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    for got, want in zip(torch.autograd.grad(loss.sum(), (x, y)), gradients, strict=True):
        difference = (got - want).flatten(1).norm(dim=1)
        assert (difference <= 1e-3 * want.flatten(1).norm(dim=1) + 1e-6).all()


@pytest.mark.usefixtures("nothing_is_small")
def test_gradcheck_in_points_and_weights_of_large_clouds() -> None:
    x, y = clouds(6, 3, 5)
    a, b = (torch.rand(len(z), generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.2 for z in (x, y))
    inputs = [z.requires_grad_() for z in (x, y, (a / a.sum()).detach(), (b / b.sum()).detach())]

    def divergence(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return sinkhorn_divergence(x, y, a=a, b=b, blur=0.3, tol=1e-10, backend="torch")

    assert torch.autograd.gradcheck(divergence, inputs)


@pytest.mark.parametrize("blur", [0.03, 0.01])
def test_costs_that_span_many_blurs_are_annealed_and_their_scalings_kept_in_range(
    blur: float, request: pytest.FixtureRequest
) -> None:
    x, y = clouds(24, 3)
    expected = sinkhorn_divergence(x, y, blur=blur, tol=1e-6)
    request.getfixturevalue("nothing_is_small")
    loss, info = sinkhorn_divergence(x, y, blur=blur, backend="torch", max_iter=3000, return_info=True)
    assert info.converged
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_best_point_is_returned_when_iterations_run_out() -> None:
    x, y = (z[None] for z in clouds(20, 3))
    weights = torch.full((1, 20), 1 / 20, dtype=torch.float64)
    errors = []
    for max_iter in (1, 3, 10, 30):
        goal = Goal(1e-2, math.inf, 1e-12, max_iter)
        found = couple_large(Clouds(x, y, weights, weights), goal, False, [False, False])
        errors.append(found.potentials.marginal_error.item())
    assert errors == sorted(errors, reverse=True)
