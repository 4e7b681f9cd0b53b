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
from typing import NamedTuple

import torch
from torch import Tensor

from pkdot.transport.anderson import Anderson
from pkdot.transport.softmin import Softmin

_COOLING = 2.0
_COARSE_TOL = 0.1
_COARSE_SWEEPS = 20
_MEMORY = 6
_LOST = 4.0
_RELAXATION = 2.0 / 3.0
_LARGEST_EXPONENT = 80.0


class Settings(NamedTuple):
    """How exactly a problem is solved.

    Attributes:
        eps: strength of the entropy, in the units of the cost.
        tol: L1 marginal error.
        max_iter: sweeps at ``eps`` after which an unfinished problem returns its best point.
        dtype: of the sweeps; a problem for whose ``tol`` it is too coarse is swept in the dtype of its cost.
    """

    eps: float
    tol: float
    max_iter: int
    dtype: torch.dtype


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


def solve(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> Potentials:
    """Potentials of P problems by Anderson-accelerated sweeps, at a temperature that falls to ``eps``.

    Each problem starts at a temperature near the range of its cost; every further one starts from the potentials of
    the last, which need not be exact.

    Args:
        cost: ``(P, N, M)``, or ``(1, N, M)`` where all problems share it.
        a: ``(P, N)`` histograms; zeros are allowed.
        b: ``(P, M)`` histograms; zeros are allowed.
        settings: how exactly.
    """
    return _in_enough_precision(_annealed_sweeps, cost, a, b, settings)


def solve_symmetric(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> Potentials:
    r"""Potentials of P problems between a histogram and itself.

    One potential solves both equations. Relaxed by 2/3, the fixed-point map :math:`f \leftarrow
    \mathrm{softmin}(f)` contracts by 1/3 or better wherever :math:`e^{-C / \varepsilon}` is positive definite, as
    it is for squared distances, so that it needs neither annealing nor acceleration.

    Args:
        cost: ``(P, N, N)``, or ``(1, N, N)`` where all problems share it; symmetric, zero on the diagonal.
        a: ``(P, N)`` histograms; zeros are allowed.
        b: ``a`` again.
        settings: how exactly.
    """
    return _in_enough_precision(_relaxed_sweeps, cost, a, b, settings)


def _in_enough_precision(
    sweeps: Callable[..., Potentials], cost: Tensor, a: Tensor, b: Tensor, settings: Settings
) -> Potentials:
    """Solve in the precision of the settings, or of the cost where the former is too coarse for the tolerance."""
    rounding = torch.finfo(settings.dtype).eps * cost.amax((-2, -1)) / settings.eps
    coarse = (rounding > settings.tol).expand(a.shape[0])
    f, g, error = torch.zeros_like(a), torch.zeros_like(b), a.new_zeros(a.shape[0])
    iterations = torch.zeros_like(coarse, dtype=torch.int64)
    for problems, dtype in ((coarse, cost.dtype), (~coarse, settings.dtype)):
        if problems.any():
            part = (cost if cost.shape[0] == 1 else cost[problems]), a[problems], b[problems]
            solved = sweeps(*(z.to(dtype) for z in part), settings)
            f[problems], g[problems] = solved.f.to(f.dtype), solved.g.to(g.dtype)
            error[problems], iterations[problems] = solved.marginal_error.to(error.dtype), solved.iterations
    return Potentials(f, g, error, iterations)


def _annealed_sweeps(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> Potentials:
    ranges = (cost.amax((-2, -1)) / settings.eps).expand(a.shape[0])
    levels = math.ceil(math.log(max(float(ranges.max()), 1.0), _COOLING))
    g = torch.zeros_like(b)
    for level in range(levels, 0, -1):
        warmth = _COOLING**level
        # A problem joins at its own range, whatever its neighbours' is.
        joins = (ranges > _COOLING ** (level - 1)).nonzero().squeeze(-1)
        part = (cost if cost.shape[0] == 1 else cost[joins]), a[joins], b[joins]
        coarse = settings._replace(eps=settings.eps * warmth, tol=_COARSE_TOL, max_iter=_COARSE_SWEEPS)
        g[joins] = _accelerated_sweeps(*part, g[joins], coarse).g.to(g.dtype)
    return _accelerated_sweeps(cost, a, b, g, settings)


def _accelerated_sweeps(cost: Tensor, a: Tensor, b: Tensor, start: Tensor, settings: Settings) -> Potentials:
    """Sweeps from ``start``; a point much worse than the best one seen sends its problem back to that one."""
    softmin = Softmin(cost / settings.eps, a.shape[0])
    a, b, g = (z.to(softmin.dtype) for z in (a, b, start / settings.eps))
    log_a, log_b = a.log(), b.log()
    anderson = Anderson(g, _MEMORY)
    best, solved = _Best(a, b), _Solved(a, b)
    follows = torch.zeros(a.shape[0], dtype=torch.bool, device=a.device)

    for sweep in range(1, settings.max_iter + 1):
        f = softmin.over_columns(g, log_b)
        g_next = softmin.over_rows(f, log_a)
        residual = g_next - g
        # With f exact for g, the plan's columns sum to b exp((g - g_next) / eps).
        error = _marginal_error(b, residual)
        best.update(f, g_next, error)

        finished = best.error <= settings.tol if sweep < settings.max_iter else torch.ones_like(follows)
        if finished.any():
            keep = solved.store(best, finished, sweep)
            if not keep.numel():
                break
            for part in (softmin, anderson, best):
                part.keep(keep)
            log_a, log_b, b, follows = log_a[keep], log_b[keep], b[keep], follows[keep]
            g, residual, error = g[keep], residual[keep], error[keep]

        lost = ~(error <= _LOST * best.error)
        g = anderson.advance(g, _centred(residual, b), b, follows & ~lost)
        g = _centred(torch.where(lost.unsqueeze(-1), best.g, g), b)
        follows = ~lost
    return solved.potentials(settings.eps)


def _relaxed_sweeps(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> Potentials:
    softmin = Softmin(cost / settings.eps, a.shape[0])
    a = a.to(softmin.dtype)
    log_a = a.log()
    f = softmin.over_columns(torch.zeros_like(a), log_a) / 2
    best, solved = _Best(a, a), _Solved(a, a)

    for sweep in range(1, settings.max_iter + 1):
        f_next = softmin.over_columns(f, log_a)
        residual = f_next - f
        best.update(f, f_next, _marginal_error(a, residual))

        last = sweep == settings.max_iter
        finished = torch.ones_like(best.error, dtype=torch.bool) if last else best.error <= settings.tol
        if finished.any():
            keep = solved.store(best, finished, sweep)
            if not keep.numel():
                break
            for part in (softmin, best):
                part.keep(keep)
            log_a, a, f, residual = log_a[keep], a[keep], f[keep], residual[keep]
        f = f + _RELAXATION * residual
    return solved.potentials(settings.eps)


def _marginal_error(weight: Tensor, residual: Tensor) -> Tensor:
    return (weight * (-residual).clamp(max=_LARGEST_EXPONENT).expm1().abs()).sum(-1)


def _centred(potential: Tensor, weight: Tensor) -> Tensor:
    # f + c and g - c solve the same problem; left alone, the constant drifts and takes the digits.
    return potential - (weight * potential).sum(-1, keepdim=True)


class _Best:
    """The best point of each problem so far."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self.f, self.g, self.error = torch.zeros_like(a), torch.zeros_like(b), torch.full_like(a[:, 0], torch.inf)

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
