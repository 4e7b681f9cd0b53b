"""The C extension: built or done without, in threads or not, and never stuck."""

import pytest
import torch

from pkdot import sinkhorn_divergence
from pkdot.transport import constants
from pkdot.transport import native_backend as native

built = pytest.mark.skipif(not native.available(), reason="the C extension was not built here")


def clouds(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_everything_works_where_the_extension_was_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clouds(20, 4), clouds(20, 4, seed=1)
    expected = sinkhorn_divergence(x, y)
    monkeypatch.setattr(native, "_native", None)
    torch.testing.assert_close(sinkhorn_divergence(x, y), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"backend is 'native', which was not built.*expected auto or"):
        sinkhorn_divergence(x, y, backend="native")


@built
def test_the_constants_of_c_are_those_of_python() -> None:
    compiled = dict(native._native.constants)
    annealing = [compiled.pop(name) for name in ("NARROW", "FIRST", "COOLING")]
    assert tuple(annealing) == constants.NATIVE_ANNEALING
    assert compiled == {name: getattr(constants, name) for name in compiled}
    assert len(compiled) == 6


@built
def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(ValueError, match="which moves all mass, with a finite reach"):
        sinkhorn_divergence(clouds(4, 2), clouds(4, 2), reach=1.0, backend="native")


@built
@pytest.mark.parametrize("shape", [(3, 70, 5), (1, 230, 3)])
def test_threads_change_no_digit(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_WORTH_A_THREAD", 1)
    x, y = clouds(*shape).requires_grad_(), clouds(*shape, seed=1)
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        loss = sinkhorn_divergence(x, y, backend="native")
        results.append((loss, torch.autograd.grad(loss.sum(), x)[0]))
    assert all(torch.equal(one, three) for one, three in zip(*results, strict=True))


@built
def test_problems_that_its_sweeps_do_not_finish_go_on_to_newton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_MOST_SWEEPS", 1)
    x, y = torch.stack([clouds(24, 3), 0 * clouds(24, 3)]), torch.stack([clouds(24, 3, seed=1), 0 * clouds(24, 3)])
    x.requires_grad_()
    loss, info = sinkhorn_divergence(x, y, backend="native", return_info=True)
    assert info.converged.all()
    expected = sinkhorn_divergence(x, y, backend="torch")
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    gradients = [torch.autograd.grad(z.sum(), x)[0] for z in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


@built
@pytest.mark.parametrize(("n", "m", "k"), [(1, 1, 1), (1, 7, 3), (5, 17, 1), (16, 4, 33), (33, 31, 16), (3, 300, 2)])
def test_shapes_that_fill_no_tile(n: int, m: int, k: int) -> None:
    x, y = clouds(n, k).requires_grad_(), clouds(m, k, seed=1).requires_grad_()
    losses = [sinkhorn_divergence(x, y, backend=backend, tol=1e-5) for backend in ("native", "torch")]
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-6)
    gradients = [torch.cat([g.flatten() for g in torch.autograd.grad(loss, (x, y))]) for loss in losses]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


@built
def test_threads_that_share_one_large_problem_give_what_one_thread_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (0.3 * torch.randn(1, n, 4, generator=generator) for n in (1100, 1000))
    found = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            z = x.clone().requires_grad_()
            value = sinkhorn_divergence(z, y, backend="native", tol=1e-4)
            found.append((value.detach(), torch.autograd.grad(value.sum(), z)[0]))
    finally:
        torch.set_num_threads(threads)
    for value, gradient in found[1:]:
        assert torch.equal(value, found[0][0])
        assert torch.equal(gradient, found[0][1])
    z = x.clone().requires_grad_()
    expected = sinkhorn_divergence(z, y, backend="torch", tol=1e-4)
    torch.testing.assert_close(found[0][0], expected.detach(), rtol=1e-4, atol=1e-7)
    (gradient,) = torch.autograd.grad(expected.sum(), z)
    assert (found[0][1] - gradient).norm() <= 1e-4 * gradient.norm()
