"""POT as the engine: the same divergences by other means, and exact transport."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from pkdot import sinkhorn_divergence
from pkdot.transport import pot_backend
from pkdot.transport.histograms import histogram_divergence


def clouds(*shape: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(*shape: int) -> Tensor:
    found = torch.rand(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.1
    found[..., 0] = 0
    return found / found.sum(-1, keepdim=True)


def solved(backend: str, inputs: list[Tensor], **settings: float) -> tuple[Tensor, list[Tensor]]:
    """Value and gradients, those of the weights with mean 0 where there is weight."""
    inputs = [z.clone().requires_grad_() for z in inputs]
    x, y, *rest = inputs
    named = dict(zip("ab", rest, strict=False))
    value = sinkhorn_divergence(x, y, backend=backend, **named, **settings)  # type: ignore[arg-type]
    return value.detach(), list(torch.autograd.grad(value.sum(), inputs))


@pytest.mark.parametrize("debias", [True, False])
def test_another_engine_finds_the_same_values_and_gradients(debias: bool) -> None:
    inputs = [clouds(2, 2, 9, 3), clouds(2, 2, 7, 3, seed=1) + 0.1, weights(2, 2, 9), weights(2, 2, 7)]
    value, gradients = solved("pot", inputs, blur=0.2, debias=debias, tol=1e-5, max_iter=10_000)
    expected, right = solved("torch", inputs, blur=0.2, debias=debias, tol=1e-7)
    assert value.shape == (2, 2)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-9)
    for got, want in zip(gradients, right, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-7)


def test_a_float32_problem_is_solved_in_float64_and_comes_back_as_it_was() -> None:
    x, y = clouds(8, 2).float(), clouds(8, 2, seed=1).float()
    value, info = sinkhorn_divergence(x, y, backend="pot", return_info=True)
    assert (value.dtype, bool(info.converged), int(info.iterations) > 1) == (torch.float32, True, True)


def test_sweeps_that_are_stopped_are_not_converged() -> None:
    x, y = clouds(8, 2), clouds(8, 2, seed=1)
    with pytest.warns(RuntimeWarning, match="stopped before its tolerance"):
        _, info = sinkhorn_divergence(x, y, backend="pot", max_iter=1, return_info=True)
    assert not info.converged


@pytest.mark.parametrize("backend", ["auto", "pot"])
def test_exact_transport_in_one_dimension_sorts_the_points(backend: str) -> None:
    x, y = clouds(3, 20, 1), clouds(3, 20, 1, seed=1)
    x.requires_grad_()
    value, info = sinkhorn_divergence(x, y, blur=0, backend=backend, return_info=True)
    expected = (x.sort(1).values - y.sort(1).values).square().sum((1, 2)) / 2 / 20
    torch.testing.assert_close(value, expected)
    assert info.converged.all()
    torch.testing.assert_close(torch.autograd.grad(value.sum(), x)[0], torch.autograd.grad(expected.sum(), x)[0])


def test_exact_transport_undoes_a_permutation_and_sees_a_shift_whole() -> None:
    x, order = clouds(15, 4), torch.randperm(15, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    value = sinkhorn_divergence(x, x.detach()[order] + 1.0, blur=0, debias=False)
    torch.testing.assert_close(value.item(), 4 / 2)
    torch.testing.assert_close(torch.autograd.grad(value, x)[0], torch.full_like(x, -1 / 15))
    torch.testing.assert_close(sinkhorn_divergence(x, x[order], blur=0).item(), 0.0)


def test_exact_transport_is_the_limit_of_small_blurs() -> None:
    inputs = [clouds(12, 2), clouds(9, 2, seed=1) + 0.2, weights(12), weights(9)]
    value, gradients = solved("pot", inputs, blur=0)
    expected, right = solved("torch", inputs, blur=0.002, debias=False)
    torch.testing.assert_close(value, expected, rtol=1e-3, atol=0)
    for got, want in zip(gradients[:2], right[:2], strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=2e-3)


@pytest.mark.filterwarnings("ignore:.*numItermax.*:UserWarning")
def test_a_simplex_that_is_stopped_is_not_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pot_backend, "_MOST_PIVOTS", 1)
    with pytest.warns(RuntimeWarning, match="stopped before its tolerance"):
        _, info = sinkhorn_divergence(clouds(20, 3), clouds(20, 3, seed=1), blur=0, return_info=True)
    assert not info.converged


def test_exact_transport_passes_gradcheck() -> None:
    x, y, a, b = clouds(4, 2), clouds(3, 2, seed=1), weights(5)[1:], weights(4)[1:]

    def divergence(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return sinkhorn_divergence(x, y, a=a, b=b, blur=0)

    points = [z.detach().requires_grad_() for z in (x, y, a / a.sum(), b / b.sum())]
    assert torch.autograd.gradcheck(divergence, points)


@pytest.mark.parametrize("backend", ["torch", "native", "triton"])
def test_other_backends_refuse_to_do_without_entropy(backend: str) -> None:
    with pytest.raises(ValueError, match=f"blur is 0, transport without entropy, which backend '{backend}'"):
        sinkhorn_divergence(clouds(4, 2), clouds(4, 2), blur=0, backend=backend)


@pytest.mark.parametrize(("backend", "blur"), [("auto", 0.0), ("pot", 0.0), ("pot", 0.1)])
def test_a_finite_reach_is_refused(backend: str, blur: float) -> None:
    with pytest.raises(ValueError, match=r"reach"):
        sinkhorn_divergence(clouds(4, 2), clouds(4, 2), blur=blur, reach=1.0, backend=backend)


def test_histograms_need_a_blur() -> None:
    p = torch.full((1, 3), 1 / 3)
    with pytest.raises(ValueError, match="blur is 0"):
        histogram_divergence(p, p, torch.zeros(1, 3, 3), blur=0)


def test_pot_is_imported_only_where_it_is_used() -> None:
    code = (
        "import sys, torch; from pkdot import sinkhorn_divergence; x = torch.rand(4, 2); "
        "sinkhorn_divergence(x, x + 1); assert 'ot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
