import warnings
from collections.abc import Callable
from functools import cache

import geomloss
import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pkdot import anchor_clouds, sinkhorn_divergence
from pkdot.transport import native_backend as native
from pkdot.transport import operator
from pkdot.transport.backends import pick
from pkdot.transport.divergence import transport_plan
from tests.transport.references import annealed_plan, cost, pot_cost, unrolled_cost


def clouds(n: int, k: int, *, m: int | None = None, seed: int = 0, scale: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(n, k, generator=generator, dtype=torch.float64)
    return x, scale * torch.randn(m or n, k, generator=generator, dtype=torch.float64) + 0.1


def structure_clouds(n: int, k: int) -> tuple[Tensor, Tensor]:
    """What the loss sees in training: similarities of embeddings that fall into classes."""
    generator = torch.Generator().manual_seed(3)
    classes = torch.arange(n) % 4
    centres = torch.randn(2, 4, 64, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, n, 64, generator=generator, dtype=torch.float64)
    return anchor_clouds(0.5 * centres[0][classes] + noise[0], centres[1][classes] + noise[1], k)


@pytest.fixture(autouse=True, params=["torch", "native"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test of this file holds for every backend that runs on CPU."""
    name: str = request.param
    if name == "native" and not native.available():
        pytest.skip("the C extension was not built here")
    monkeypatch.setattr(
        operator, "pick", lambda asked, *z, **known: pick(name if asked == "auto" else asked, *z, **known)
    )
    return name


CASES: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "16x4": lambda: clouds(16, 4),
    "64x8": lambda: clouds(64, 8),
    "128x30": lambda: clouds(128, 30),
    "unequal": lambda: clouds(40, 4, m=25),
    "structure 64x16": lambda: structure_clouds(64, 16),
    "structure 128x30": lambda: structure_clouds(128, 30),
    "skewed 32x2": lambda: (clouds(32, 2)[0], clouds(32, 2)[1].abs() ** 0.5),
}


@cache
def geomloss_value(case: str, debias: bool) -> float:
    loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=0.1, scaling=0.998, debias=debias)
    return float(loss(*CASES[case]()))


@cache
def debiased_at(eps: float) -> tuple[float, Tensor]:
    """Value and gradient in the student's points of ``structure_clouds(32, 8)``, from the primal definition."""
    x, y = structure_clouds(32, 8)
    value, gradient = 0.0, torch.zeros_like(x)
    for first, second, factor in ((x, y, 1.0), (x, x, -0.5), (y, y, -0.5)):
        plan = annealed_plan(first, second, eps)
        entropy = torch.xlogy(plan, plan * len(first) * len(second)).sum()
        value += factor * float((plan * cost(first, second)).sum() + eps * entropy)
        if first is x:  # in a self term the points stand twice
            gradient += (2.0 * factor if second is x else factor) * (plan.sum(1, keepdim=True) * x - plan @ second)
    return value, gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_loss_equals_geomloss_at_high_scaling(case: str, debias: bool, dtype: torch.dtype) -> None:
    x, y = CASES[case]()
    expected = geomloss_value(case, debias)
    loss, info = sinkhorn_divergence(x.to(dtype), y.to(dtype), debias=debias, return_info=True)
    assert loss.dtype == dtype
    assert info.converged
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("case", ["16x4", "64x8", "unequal", "structure 64x16"])
def test_loss_equals_pot(case: str, debias: bool) -> None:
    x, y = CASES[case]()
    expected = pot_cost(x, y, 0.01)
    if debias:
        expected -= (pot_cost(x, x, 0.01) + pot_cost(y, y, 0.01)) / 2
    assert sinkhorn_divergence(x, y, debias=debias).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("size", [(16, 4), (32, 8), (48, 30)])
def test_gradient_equals_autograd_through_converged_iterations(
    size: tuple[int, int], debias: bool, dtype: torch.dtype
) -> None:
    x, y = clouds(*size, scale=0.2)
    x.requires_grad_(), y.requires_grad_()
    reference = unrolled_cost(x, y, 0.01, 3000)
    if debias:
        reference = reference - (unrolled_cost(x, x, 0.01, 300) + unrolled_cost(y, y, 0.01, 300)) / 2
    expected = torch.autograd.grad(reference, (x, y))
    gradient = torch.autograd.grad(sinkhorn_divergence(x.to(dtype), y.to(dtype), debias=debias), (x, y))
    for got, want in zip(gradient, expected, strict=True):
        assert (got - want).norm() <= 1e-3 * want.norm()


@pytest.mark.parametrize("debias", [True, False])
def test_gradcheck_in_points_and_weights(debias: bool) -> None:
    x, y = clouds(5, 3, m=4, scale=0.5)
    a = torch.tensor([0.1, 0.3, 0.2, 0.15, 0.25], dtype=torch.float64)
    b = torch.tensor([0.4, 0.1, 0.3, 0.2], dtype=torch.float64)
    inputs = [z.requires_grad_() for z in (x, y, a, b)]

    def divergence(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return sinkhorn_divergence(x, y, a=a, b=b, blur=0.4, debias=debias, tol=1e-9)

    assert torch.autograd.gradcheck(divergence, inputs)


def test_integer_weights_equal_repeated_points() -> None:
    x, y = clouds(6, 3, m=5)
    repeats = torch.tensor([1, 3, 1, 2, 1, 2])
    weighted = sinkhorn_divergence(x, y, a=repeats / 10)
    torch.testing.assert_close(weighted, sinkhorn_divergence(x.repeat_interleave(repeats, 0), y), rtol=1e-5, atol=0)


def test_points_without_weight_do_not_count() -> None:
    x, y = clouds(6, 3, m=5)
    a = torch.tensor([0.25, 0.0, 0.25, 0.25, 0.0, 0.25])
    torch.testing.assert_close(sinkhorn_divergence(x, y, a=a), sinkhorn_divergence(x[a > 0], y), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_clouds_are_at_distance_zero_with_zero_gradient(dtype: torch.dtype) -> None:
    for x, y in (clouds(64, 8), structure_clouds(64, 16)):
        for z in (x, y):
            student = z.to(dtype).requires_grad_()
            loss = sinkhorn_divergence(student, z.to(dtype))
            (gradient,) = torch.autograd.grad(loss, student)
            assert abs(loss.item()) <= 1e-5
            assert gradient.abs().max() <= 1e-5


def test_offset_is_exact_however_far() -> None:
    x, y = (z.float() for z in clouds(32, 8))
    near, far = x.clone().requires_grad_(), (x + 1000).requires_grad_()
    (expected,) = torch.autograd.grad(sinkhorn_divergence(near, y), near)
    (gradient,) = torch.autograd.grad(sinkhorn_divergence(far, y + 1000), far)
    assert (gradient - expected).norm() <= 1e-2 * expected.norm()
    shifted = sinkhorn_divergence(x, y + 2) - sinkhorn_divergence(x, y)
    between = (x.mean(0) - y.mean(0) - 2).square().sum() / 2 - (x.mean(0) - y.mean(0)).square().sum() / 2
    torch.testing.assert_close(shifted, between)


def hard_and_easy(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A usual problem beside one at a hundredth of its blur, one of zeros, a constant one and an identical pair."""
    x, y = clouds(24, 4)
    constant = torch.full_like(x, 0.7)
    xs = torch.stack([x, 10 * x, torch.zeros_like(x), constant, x])
    ys = torch.stack([y, 10 * y, torch.zeros_like(y), y, x])
    return xs.to(dtype), ys.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("debias", [True, False])
def test_a_batch_gives_what_solving_alone_gives(debias: bool, dtype: torch.dtype) -> None:
    xs, ys = hard_and_easy(dtype)
    xs.requires_grad_()
    together, info = sinkhorn_divergence(xs, ys, debias=debias, return_info=True)
    (gradient,) = torch.autograd.grad(together.sum(), xs)
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        alone, info_alone = sinkhorn_divergence(x, y, debias=debias, return_info=True)
        torch.testing.assert_close(together[i], alone, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(gradient[i], torch.autograd.grad(alone, x)[0], rtol=1e-4, atol=1e-6)
        assert abs(int(info.iterations[i]) - int(info_alone.iterations)) <= 0.1 * int(info_alone.iterations) + 1


def test_any_number_of_leading_dimensions() -> None:
    xs, ys = hard_and_easy(torch.float64)
    nested, info = sinkhorn_divergence(xs[:4].reshape(2, 2, 24, 4), ys[:4].reshape(2, 2, 24, 4), return_info=True)
    torch.testing.assert_close(nested.flatten(), sinkhorn_divergence(xs[:4], ys[:4]))
    assert nested.shape == info.marginal_error.shape == info.iterations.shape == info.converged.shape == (2, 2)


def test_permuting_either_cloud_changes_nothing() -> None:
    x, y = clouds(20, 4)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    expected = sinkhorn_divergence(x, y)
    torch.testing.assert_close(sinkhorn_divergence(x[order], y), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(sinkhorn_divergence(x, y[order]), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_stay_within_a_hundredth(dtype: torch.dtype) -> None:
    x, y = (z.float() for z in structure_clouds(32, 8))
    half = x.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype):
        loss = sinkhorn_divergence(half, y.to(dtype))
        loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad is not None
    assert half.grad.dtype == dtype
    assert loss.item() == pytest.approx(sinkhorn_divergence(x, y).item(), rel=1e-2)


def test_autocast_changes_nothing_for_float32() -> None:
    x, y = (z.float() for z in clouds(16, 4))
    with torch.autocast("cpu", torch.bfloat16):
        inside = sinkhorn_divergence(x, y)
    assert inside.equal(sinkhorn_divergence(x, y))


def test_grad_mode_is_left_alone() -> None:
    x, y = clouds(8, 3)
    with torch.no_grad():
        loss = sinkhorn_divergence(x.requires_grad_(), y)
        assert not torch.is_grad_enabled()
    assert not loss.requires_grad
    assert torch.is_grad_enabled()
    sinkhorn_divergence(x, y).backward()
    assert torch.is_grad_enabled()


def test_differentiating_twice_says_why_it_cannot() -> None:
    x, y = clouds(8, 3)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(sinkhorn_divergence(x, y, debias=False), x, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        gradient.square().sum().backward()


def test_stopping_early_warns_and_says_so() -> None:
    x, y = clouds(32, 4)
    with pytest.warns(RuntimeWarning, match="stopped before its tolerance") as record:
        loss, info = sinkhorn_divergence(torch.stack([x, y]), torch.stack([y, y]), max_iter=1, return_info=True)
    assert len(record) == 1
    assert loss.isfinite().all()
    assert info.iterations.tolist() == [1, 1]
    assert not info.converged[0]
    assert info.marginal_error[0] > 1e-3


def test_warns_once_in_a_loop() -> None:
    x, y = clouds(32, 4)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("default")
        for _ in range(3):
            sinkhorn_divergence(x, y, max_iter=1)
    assert len(record) == 1


@pytest.mark.parametrize("tol", [1e-2, 1e-4])
def test_info_reports_the_plan_and_keeps_the_tolerance(tol: float) -> None:
    x, y = clouds(32, 4)
    _, info = sinkhorn_divergence(x, y, tol=tol, debias=False, return_info=True)
    rows = transport_plan(x, y, tol=tol).sum(-1)
    assert (rows - 1 / 32).abs().sum() <= info.marginal_error * (1 + 1e-6) + 1e-12
    assert info.marginal_error <= tol
    assert info.iterations >= 1


def test_plan_equals_pot() -> None:
    x, y = clouds(12, 3, m=9)
    expected = ot.sinkhorn(
        np.full(12, 1 / 12), np.full(9, 1 / 9), cost(x, y).numpy(), 0.01, stopThr=1e-11, numItermax=20_000
    )
    plan = transport_plan(torch.stack([x, x]), torch.stack([y, y]), tol=1e-8)
    np.testing.assert_allclose(plan[1].numpy(), expected, atol=1e-7)
    assert not transport_plan(x.requires_grad_(), y).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_clouds_stay_finite_and_right(dtype: torch.dtype) -> None:
    x, y = (z.to(dtype) for z in clouds(16, 3))
    zeros = torch.zeros(16, 3, dtype=dtype)
    line = x * torch.tensor([1.0, 0.0, 0.0], dtype=dtype)
    collapsed = (y.square().sum(-1) / 2).mean() - sinkhorn_divergence(y, y, debias=False) / 2
    for student, teacher, expected in (
        (zeros, zeros, 0.0),
        (zeros + 1, zeros, 1.5),
        (zeros, y, collapsed.item()),
        (x[:1], y[:1], (x[0] - y[0]).square().sum().item() / 2),
        (x.repeat(2, 1), y, sinkhorn_divergence(x, y).item()),
        (line, line, 0.0),
    ):
        student = student.clone().requires_grad_()
        loss = sinkhorn_divergence(student, teacher)
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert gradient.isfinite().all()


def test_large_coordinates_are_solved_and_their_transport_is_that_without_entropy() -> None:
    x, y = (100 * z.float() for z in clouds(16, 3))
    loss, info = sinkhorn_divergence(x, y, return_info=True)
    squared = ot.emd2(np.full(16, 1 / 16), np.full(16, 1 / 16), cost(x, y).double().numpy())
    assert info.converged
    assert loss.item() == pytest.approx(squared, rel=1e-3)


@pytest.mark.parametrize("eps", [1e-2, 1e-3, 1e-4])
def test_value_and_gradient_are_right_at_low_entropy(eps: float) -> None:
    x, y = (z.float() for z in structure_clouds(32, 8))
    x.requires_grad_()
    loss, info = sinkhorn_divergence(x, y, blur=eps**0.5, return_info=True)
    (gradient,) = torch.autograd.grad(loss, x)
    value, expected = debiased_at(eps)
    assert info.converged
    assert loss.item() == pytest.approx(value, rel=1e-4)
    assert (gradient - expected).norm() <= 1e-2 * expected.norm()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": torch.ones(4)}, r"\(4,\) and \(5, 3\); expected \(\*, N, k\)"),
        ({"x": torch.ones(4, 2)}, r"\(4, 2\) and \(5, 3\)"),
        ({"x": torch.ones(2, 4, 3)}, r"\(2, 4, 3\) and \(5, 3\)"),
        ({"x": torch.ones(0, 3)}, "none of them empty"),
        ({"x": torch.full((4, 3), torch.nan)}, "x holds NaN"),
        ({"y": torch.full((5, 3), torch.inf)}, "y holds NaN"),
        ({"x": torch.full((4, 3), 1e200, dtype=torch.float64)}, "x holds NaN, infinity or values whose squares"),
        ({"a": torch.ones(5) / 5}, r"weights a have shape \(5,\); expected \(4,\)"),
        ({"a": torch.ones(4)}, "weights a do not sum to 1"),
        ({"b": torch.tensor([-1.0, 1, 1, 0, 0])}, "weights b are negative"),
        ({"blur": -1.0}, "blur is -1.0; expected a finite number above 0"),
        ({"tol": -1.0}, "tol is -1.0"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"reach": 0.0}, "reach is 0.0"),
        ({"a": torch.zeros(4), "reach": 1.0}, "weights a leave a cloud without mass"),
        ({"x_mask": torch.ones(4)}, r"x_mask is torch.float32 of shape \(4,\); expected bool of shape \(4,\)"),
        ({"y_mask": torch.ones(4, dtype=torch.bool)}, r"y_mask is torch.bool of shape \(4,\); expected bool"),
        ({"y_mask": torch.zeros(5, dtype=torch.bool)}, "y_mask leaves a cloud without a point"),
        ({"y_self": torch.zeros(()), "debias": False}, "y_self stands for a self term of constant points"),
        ({"backend": "keops"}, "backend is 'keops'; expected one of auto, torch"),
    ],
)
def test_bad_input_says_what_was_expected(arguments: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sinkhorn_divergence(**({"x": torch.ones(4, 3), "y": torch.ones(5, 3)} | arguments))  # type: ignore[arg-type]


@settings(max_examples=500)
@given(
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    k=st.integers(1, 4),
    scale=st.floats(0, 5),
    blur=st.floats(0.02, 1),
    seed=st.integers(0, 10_000),
)
def test_random_problems_are_solved_and_lie_around_transport_without_entropy(
    n: int, m: int, k: int, scale: float, blur: float, seed: int
) -> None:
    x, y = (z.float() for z in clouds(n, k, m=m, seed=seed, scale=scale))
    exact = ot.emd2(np.full(n, 1 / n), np.full(m, 1 / m), cost(x, y).double().numpy())
    rounding = 1e-3 * blur**2 + 1e-5 * (1 + scale**2)
    # Entropy costs nothing at least, and eps times the logarithm of the smaller cloud at most; so do the self terms.
    lowest, highest = exact - blur**2 * np.log(n * m) / 2, exact + blur**2 * np.log(min(n, m))
    loss, info = sinkhorn_divergence(x.requires_grad_(), y, blur=blur, return_info=True)
    (gradient,) = torch.autograd.grad(loss, x)
    assert info.converged
    assert max(lowest, 0.0) - rounding <= loss.item() <= highest + rounding
    assert gradient.isfinite().all()
