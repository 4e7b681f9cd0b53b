r"""Sinkhorn's algorithm in the log domain, for a batch of problems, each to its own tolerance.

A problem is a cost :math:`C` and two histograms :math:`a, b`. Its potentials solve

.. math::
    f_i = -\varepsilon \log \sum_j b_j e^{(g_j - C_{ij}) / \varepsilon}, \qquad
    g_j = -\varepsilon \log \sum_i a_i e^{(f_i - C_{ij}) / \varepsilon},

and its plan is :math:`P_{ij} = a_i b_j e^{(f_i + g_j - C_{ij}) / \varepsilon}`. A problem that has converged leaves the
batch: it neither moves any further nor costs anything, so that its result does not depend on its neighbours.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pkdot.transport.anderson import Anderson
from pkdot.transport.softmin import Softmin

_MEMORY = 6
_LOST = 4.0
_MARGIN = 10.0
_RELAXATION = 2.0 / 3.0
_LARGEST_EXPONENT = 80.0


@dataclass(frozen=True)
class Potentials:
    """Solution of P problems.

    Attributes:
        f: ``(P, N)`` in the units of the cost.
        g: ``(P, M)`` in the units of the cost. The plan's columns sum to ``b``.
        marginal_error: ``(P,)``, bound on the L1 distance between the plan's row sums and ``a``.
        iterations: ``(P,)`` int64, sweeps done.
    """

    f: Tensor
    g: Tensor
    marginal_error: Tensor
    iterations: Tensor


def solve(
    cost: Tensor, a: Tensor, b: Tensor, *, eps: float, tol: float, max_iter: int, dtype: torch.dtype = torch.float64
) -> Potentials:
    """Potentials of P problems by Anderson-accelerated sweeps, after a short annealing.

    A point that is much worse than the best one seen sends its problem back to that one. The gradient of the
    transport cost is first order in the marginal error (its value is second order), so the sweeps go on to a tenth
    of ``tol`` where the dtype resolves that.

    Args:
        cost: ``(P, N, M)``, or ``(1, N, M)`` where all problems share it; in float64 wherever the device has it.
        a: ``(P, N)`` histograms; zeros are allowed.
        b: ``(P, M)`` histograms; zeros are allowed.
        eps: strength of the entropy, in the units of the cost.
        tol: L1 marginal error.
        max_iter: sweeps at ``eps`` after which an unfinished problem returns its best point.
        dtype: of the sweeps; a problem for whose ``tol`` it is too coarse is swept in the dtype of its cost.
    """
    return _in_enough_precision(_accelerated_sweeps, cost, a, b, eps=eps, tol=tol, max_iter=max_iter, dtype=dtype)


def solve_symmetric(
    cost: Tensor, a: Tensor, b: Tensor, *, eps: float, tol: float, max_iter: int, dtype: torch.dtype = torch.float64
) -> Potentials:
    r"""Potentials of P problems between a histogram and itself.

    One potential solves both equations. Relaxed by 2/3, the fixed-point map :math:`f \leftarrow
    \mathrm{softmin}(f)` contracts by 1/3 or better wherever :math:`e^{-C / \varepsilon}` is positive definite, as
    it is for squared distances, so that it needs neither annealing nor acceleration.

    Args:
        cost: ``(P, N, N)``, or ``(1, N, N)`` where all problems share it; symmetric, zero on the diagonal.
        a: ``(P, N)`` histograms; zeros are allowed.
        b: ``a`` again.
        eps: as in :func:`solve`.
        tol: as in :func:`solve`.
        max_iter: as in :func:`solve`.
        dtype: as in :func:`solve`.
    """
    return _in_enough_precision(_symmetric_sweeps, cost, a, b, eps=eps, tol=tol, max_iter=max_iter, dtype=dtype)


def _in_enough_precision(
    sweeps: Callable[..., Potentials],
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    eps: float,
    tol: float,
    max_iter: int,
    dtype: torch.dtype,
) -> Potentials:
    rounding = torch.finfo(dtype).eps * cost.amax((-2, -1)) / eps
    coarse = (rounding > tol / _MARGIN).expand(a.shape[0])
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    error, iterations = a.new_zeros(a.shape[0]), torch.zeros_like(coarse, dtype=torch.int64)
    for problems, enough in ((coarse, cost.dtype), (~coarse, dtype)):
        if problems.any():
            part = (cost if cost.shape[0] == 1 else cost[problems]), a[problems], b[problems]
            solved = sweeps(*(z.to(enough) for z in part), eps=eps, tol=tol, max_iter=max_iter)
            f[problems], g[problems] = solved.f.to(f.dtype), solved.g.to(g.dtype)
            error[problems], iterations[problems] = solved.marginal_error.to(error.dtype), solved.iterations
    return Potentials(f, g, error, iterations)


def _accelerated_sweeps(cost: Tensor, a: Tensor, b: Tensor, *, eps: float, tol: float, max_iter: int) -> Potentials:
    softmin = Softmin(cost / eps, a.shape[0])
    a, b = a.to(softmin.dtype), b.to(softmin.dtype)
    log_a, log_b = a.log(), b.log()
    target = _target(softmin, tol)
    g = _anneal(softmin, log_a, log_b)
    anderson = Anderson(g, _MEMORY)
    best = _Best(torch.zeros_like(a), g, torch.full_like(target, torch.inf))
    follows = torch.zeros_like(target, dtype=torch.bool)
    solved = _Solved(a, b)

    for sweep in range(1, max_iter + 1):
        f = softmin.over_columns(g, log_b)
        g_next = softmin.over_rows(f, log_a)
        residual = g_next - g
        # With f exact for g, the plan's columns sum to b exp((g - g_next) / eps).
        error = (b * (-residual).clamp(max=_LARGEST_EXPONENT).expm1().abs()).sum(-1)
        best.update(f, g_next, error)

        finished = best.error <= target
        if sweep == max_iter:
            finished = torch.ones_like(finished)
        if finished.any():
            keep = solved.store(best, finished, sweep)
            if not keep.numel():
                break
            softmin.keep(keep)
            anderson.keep(keep)
            best.keep(keep)
            log_a, log_b, b, target, follows = log_a[keep], log_b[keep], b[keep], target[keep], follows[keep]
            g, residual, error = g[keep], residual[keep], error[keep]

        lost = ~(error <= _LOST * best.error)
        g = anderson.advance(g, _centred(residual, b), b, follows & ~lost)
        g = _centred(torch.where(lost.unsqueeze(-1), best.g, g), b)
        follows = ~lost
    return solved.potentials(eps)


def _symmetric_sweeps(cost: Tensor, a: Tensor, b: Tensor, *, eps: float, tol: float, max_iter: int) -> Potentials:
    softmin = Softmin(cost / eps, a.shape[0])
    a = a.to(softmin.dtype)
    log_a = a.log()
    target = _target(softmin, tol)
    f = softmin.over_columns(torch.zeros_like(a), log_a) / 2
    best = _Best(f, f, torch.full_like(target, torch.inf))
    solved = _Solved(a, a)

    for sweep in range(1, max_iter + 1):
        f_next = softmin.over_columns(f, log_a)
        residual = f_next - f
        error = (a * (-residual).clamp(max=_LARGEST_EXPONENT).expm1().abs()).sum(-1)
        best.update(f, f_next, error)

        finished = best.error <= target
        if sweep == max_iter:
            finished = torch.ones_like(finished)
        if finished.any():
            keep = solved.store(best, finished, sweep)
            if not keep.numel():
                break
            softmin.keep(keep)
            best.keep(keep)
            log_a, a, target, f, residual = log_a[keep], a[keep], target[keep], f[keep], residual[keep]
        f = f + _RELAXATION * residual
    return solved.potentials(eps)


def _anneal(softmin: Softmin, log_a: Tensor, log_b: Tensor) -> Tensor:
    """A start for ``g``: one sweep at each temperature from the range of the cost down to 2 eps, halved each time."""
    g = torch.zeros_like(log_b)
    for level in range(math.ceil(math.log2(max(float(softmin.range.max()), 1.0))), 0, -1):
        temperature = 2.0**level
        f = softmin.over_columns(g, log_b, temperature)
        g_next = softmin.over_rows(f, log_a, temperature)
        # A problem joins at its own range, whatever its neighbours' is.
        joins = softmin.range > temperature / 2
        g = torch.where(joins.unsqueeze(-1), _centred(g_next, log_b.exp()), g)
    return g


def _centred(potential: Tensor, weight: Tensor) -> Tensor:
    # f + c and g - c solve the same problem; left alone, the constant drifts and takes the digits.
    return potential - (weight * potential).sum(-1, keepdim=True)


def _target(softmin: Softmin, tol: float) -> Tensor:
    rounding = torch.finfo(softmin.dtype).eps * softmin.range
    return rounding.clamp(tol / _MARGIN, tol).to(softmin.dtype)


class _Best:
    """The best point of each problem so far."""

    def __init__(self, f: Tensor, g: Tensor, error: Tensor) -> None:
        self.f, self.g, self.error = f, g, error

    def update(self, f: Tensor, g: Tensor, error: Tensor) -> None:
        better = error < self.error
        self.f = torch.where(better.unsqueeze(-1), f, self.f)
        self.g = torch.where(better.unsqueeze(-1), g, self.g)
        self.error = torch.where(better, error, self.error)

    def keep(self, problems: Tensor) -> None:
        self.f, self.g, self.error = self.f[problems], self.g[problems], self.error[problems]


class _Solved:
    """Where problems go when they leave the batch."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self._f, self._g = torch.zeros_like(a), torch.zeros_like(b)
        self._error = a.new_zeros(a.shape[0])
        self._iterations = torch.zeros(a.shape[0], dtype=torch.int64, device=a.device)
        self._problems = torch.arange(a.shape[0], device=a.device)

    def store(self, best: _Best, finished: Tensor, sweep: int) -> Tensor:
        """Store the finished problems; return the positions of the others."""
        done = self._problems[finished]
        self._f[done], self._g[done], self._error[done] = best.f[finished], best.g[finished], best.error[finished]
        self._iterations[done] = sweep
        keep = (~finished).nonzero().squeeze(-1)
        self._problems = self._problems[keep]
        return keep

    def potentials(self, eps: float) -> Potentials:
        return Potentials(self._f * eps, self._g * eps, self._error, self._iterations)
