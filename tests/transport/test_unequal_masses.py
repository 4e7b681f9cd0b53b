"""Masks, weights of any total and a finite reach."""

import geomloss
import pytest
import torch
from torch import Tensor

from pkdot import sinkhorn_divergence
from pkdot.transport.divergence import self_transport


def clouds(n: int, m: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return x, 0.3 * torch.randn(m, 3, generator=generator, dtype=torch.float64) + 0.2


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize("reach", [None, 0.5])
@pytest.mark.parametrize("padding", [torch.nan, 1e6])
def test_a_ragged_batch_equals_its_clouds_one_by_one(backend: str, reach: float | None, padding: float) -> None:
    sizes = [(7, 5), (3, 6), (1, 2)]
    x, y = torch.full((3, 7, 3), padding, dtype=torch.float64), torch.full((3, 6, 3), padding, dtype=torch.float64)
    alone = [clouds(n, m, seed=n) for n, m in sizes]
    for i, (one, other) in enumerate(alone):
        x[i, : len(one)], y[i, : len(other)] = one, other
    masks = [
        torch.arange(z.shape[1]) < torch.tensor([size[i] for size in sizes])[:, None] for i, z in enumerate((x, y))
    ]
    x.requires_grad_()
    together = sinkhorn_divergence(x, y, x_mask=masks[0], y_mask=masks[1], reach=reach, backend=backend, tol=1e-6)
    (gradient,) = torch.autograd.grad(together.sum(), x)
    assert not gradient[~masks[0]].any()
    for i, (one, other) in enumerate(alone):
        one.requires_grad_()
        expected = sinkhorn_divergence(one, other, reach=reach, backend=backend, tol=1e-6)
        torch.testing.assert_close(together[i], expected, rtol=1e-6, atol=1e-9)
        (expected_gradient,) = torch.autograd.grad(expected, one)
        torch.testing.assert_close(gradient[i, : len(one)], expected_gradient, rtol=1e-4, atol=1e-8)


def test_weights_of_the_points_that_are_there_are_scaled() -> None:
    x, y = clouds(4, 3)
    weights, mask = torch.tensor([0.2, 0.3, 0.4, 0.1]), torch.tensor([True, False, True, True])
    masked = sinkhorn_divergence(x, y, a=weights, x_mask=mask)
    torch.testing.assert_close(masked, sinkhorn_divergence(x[mask], y, a=weights[mask] / weights[mask].sum()))


@pytest.mark.parametrize("reach", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("debias", [True, False])
def test_a_finite_reach_equals_geomloss(reach: float, debias: bool) -> None:
    x, y = clouds(20, 15)
    expected = geomloss.SamplesLoss("sinkhorn", p=2, blur=0.1, reach=reach, scaling=0.999, debias=debias)(x, y)
    assert sinkhorn_divergence(x, y, reach=reach, debias=debias).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("small", [384, 4])
@pytest.mark.parametrize("debias", [True, False])
def test_a_finite_reach_passes_gradcheck_at_any_total_mass(
    debias: bool, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pkdot.transport.solvers.sinkhorn.SMALL", small)
    a = torch.tensor([0.3, 0.1, 0.7, 0.2, 0.5], dtype=torch.float64)
    b = torch.tensor([0.2, 0.6, 0.1, 0.4], dtype=torch.float64)
    inputs = [z.requires_grad_() for z in (*clouds(5, 4), a, b)]

    def divergence(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return sinkhorn_divergence(x, y, a=a, b=b, blur=0.3, reach=0.5, debias=debias, tol=1e-10)

    assert torch.autograd.gradcheck(divergence, inputs)


def test_a_long_reach_moves_all_mass_and_a_short_one_leaves_it() -> None:
    x, y = clouds(6, 6)
    balanced = sinkhorn_divergence(x, y + 5)
    far = sinkhorn_divergence(x, y + 5, reach=500.0, tol=1e-7)
    assert far.item() == pytest.approx(balanced.item(), rel=1e-3)
    # Destroying and making all mass costs rho on either side.
    assert sinkhorn_divergence(x, y + 5, reach=0.1, blur=0.01).item() == pytest.approx(2 * 0.1**2, rel=0.02)


@pytest.mark.parametrize("reach", [None, 0.5])
def test_a_known_self_term_changes_nothing(reach: float | None) -> None:
    x, y = clouds(8, 9)
    x.requires_grad_()
    expected = sinkhorn_divergence(x, y, reach=reach, tol=1e-8)
    own = self_transport(y, reach=reach, tol=1e-8)
    known = sinkhorn_divergence(x, y, reach=reach, y_self=own, tol=1e-8)
    torch.testing.assert_close(known, expected, rtol=1e-6, atol=1e-9)
    any_number = sinkhorn_divergence(x, y, reach=reach, y_self=torch.zeros(()), tol=1e-8)
    for loss in (known, any_number):
        torch.testing.assert_close(
            torch.autograd.grad(loss, x)[0], torch.autograd.grad(expected, x, retain_graph=True)[0]
        )


def test_a_self_term_of_points_that_learn_is_refused() -> None:
    x, y = clouds(4, 4)
    with pytest.raises(ValueError, match="no gradient in y"):
        sinkhorn_divergence(x, y.requires_grad_(), y_self=torch.zeros(()))
