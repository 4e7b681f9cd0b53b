r"""Sinkhorn's equations for a batch of problems, each to its own tolerance.

A problem is a cost :math:`C` and two histograms :math:`a, b`. Its potentials solve

.. math::
    f_i = -\varepsilon \log \sum_j b_j e^{(g_j - C_{ij}) / \varepsilon}, \qquad
    g_j = -\varepsilon \log \sum_i a_i e^{(f_i - C_{ij}) / \varepsilon},

and its plan is :math:`P_{ij} = a_i b_j e^{(f_i + g_j - C_{ij}) / \varepsilon}`. A problem that has converged leaves the
batch, so that its result does not depend on its neighbours.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pkdot.transport.anderson import Anderson
from pkdot.transport.newton import newton_steps
from pkdot.transport.problem import Potentials, Settings, Solved, centred, marginal_error
from pkdot.transport.softmin import Softmin

# A Newton step costs the cube of the number of points, a sweep its square.
_SMALL = 384
# The gradient is first order in the marginal error, where the value is second order: aim beyond the tolerance, and
# further where another digit costs next to nothing.
_MARGIN_SMALL, _MARGIN_LARGE = 1e3, 1e1
_COOLING = 2.0
_COARSE_TOL = 0.1
_COARSE_ITERATIONS = 20
_MEMORY = 6
_LOST = 4.0
_RELAXATION = 2.0 / 3.0


def solve(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> Potentials:
    """Potentials of P problems at a temperature that falls to ``eps``.

    Each problem starts at a temperature near the range of its cost; every further one starts from the potentials of
    the last, which need not be exact. Small problems take Newton's steps, large ones Anderson-accelerated sweeps.

    Args:
        cost: ``(P, N, M)``, or ``(1, N, M)`` where all problems share it.
        a: ``(P, N)`` histograms; zeros are allowed.
        b: ``(P, M)`` histograms; zeros are allowed.
        settings: how exactly.
    """
    return _in_enough_precision(_annealed, cost, a, b, settings)


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
    """Solve large problems in the precision of the settings, where that is not too coarse for the tolerance."""
    small = _is_small(cost)
    settings = settings._replace(tol=settings.tol / (_MARGIN_SMALL if small else _MARGIN_LARGE))
    rounding = torch.finfo(settings.dtype).eps * cost.amax((-2, -1)) / settings.eps
    coarse = (rounding > settings.tol).expand(a.shape[0]) | small
    f, g, error = torch.zeros_like(a), torch.zeros_like(b), a.new_zeros(a.shape[0])
    iterations = torch.zeros_like(coarse, dtype=torch.int64)
    for problems, dtype in ((coarse, cost.dtype), (~coarse, settings.dtype)):
        if problems.any():
            part = (cost if cost.shape[0] == 1 else cost[problems]), a[problems], b[problems]
            solved = sweeps(*(z.to(dtype) for z in part), settings)
            f[problems], g[problems] = solved.f.to(f.dtype), solved.g.to(g.dtype)
            error[problems], iterations[problems] = solved.marginal_error.to(error.dtype), solved.iterations
    return Potentials(f, g, error, iterations)


def _is_small(cost: Tensor) -> bool:
    return max(cost.shape[-2:]) <= _SMALL


def _annealed(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> Potentials:
    iterate = newton_steps if _is_small(cost) else _accelerated_sweeps
    ranges = (cost.amax((-2, -1)) / settings.eps).expand(a.shape[0])
    levels = math.ceil(math.log(max(float(ranges.max()), 1.0), _COOLING))
    g = torch.zeros_like(b)
    for level in range(levels, 0, -1):
        # A problem joins at its own range, whatever its neighbours' is.
        joins = (ranges > _COOLING ** (level - 1)).nonzero().squeeze(-1)
        part = (cost if cost.shape[0] == 1 else cost[joins]), a[joins], b[joins]
        warm = settings._replace(eps=settings.eps * _COOLING**level, tol=_COARSE_TOL, max_iter=_COARSE_ITERATIONS)
        g[joins] = iterate(*part, g[joins], warm).g.to(g.dtype)
    return iterate(cost, a, b, g, settings)


def _accelerated_sweeps(cost: Tensor, a: Tensor, b: Tensor, start: Tensor, settings: Settings) -> Potentials:
    """Sweeps from ``start``; a point much worse than the best one seen sends its problem back to that one."""
    softmin = Softmin(cost / settings.eps, a.shape[0])
    a, b, g = (z.to(softmin.dtype) for z in (a, b, start / settings.eps))
    log_a, log_b = a.log(), b.log()
    anderson = Anderson(g, _MEMORY)
    best, solved = _Best(a, b), Solved(a, b)
    follows = torch.zeros(a.shape[0], dtype=torch.bool, device=a.device)

    for sweep in range(1, settings.max_iter + 1):
        f = softmin.over_columns(g, log_b)
        g_next = softmin.over_rows(f, log_a)
        residual = g_next - g
        error = marginal_error(b, residual)
        best.update(f, g_next, error)

        finished = best.error <= settings.tol if sweep < settings.max_iter else torch.ones_like(follows)
        if finished.any():
            keep = solved.store(best.f, best.g, best.error, finished, sweep)
            if not keep.numel():
                break
            for part in (softmin, anderson, best):
                part.keep(keep)
            log_a, log_b, b, follows = log_a[keep], log_b[keep], b[keep], follows[keep]
            g, residual, error = g[keep], residual[keep], error[keep]

        lost = ~(error <= _LOST * best.error)
        g = anderson.advance(g, centred(residual, b), b, follows & ~lost)
        g = centred(torch.where(lost.unsqueeze(-1), best.g, g), b)
        follows = ~lost
    return solved.potentials(settings.eps)


def _relaxed_sweeps(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> Potentials:
    softmin = Softmin(cost / settings.eps, a.shape[0])
    a = a.to(softmin.dtype)
    log_a = a.log()
    f = softmin.over_columns(torch.zeros_like(a), log_a) / 2
    best, solved = _Best(a, a), Solved(a, a)

    for sweep in range(1, settings.max_iter + 1):
        f_next = softmin.over_columns(f, log_a)
        residual = f_next - f
        best.update(f, f_next, marginal_error(a, residual))

        last = sweep == settings.max_iter
        finished = torch.ones_like(best.error, dtype=torch.bool) if last else best.error <= settings.tol
        if finished.any():
            keep = solved.store(best.f, best.g, best.error, finished, sweep)
            if not keep.numel():
                break
            for part in (softmin, best):
                part.keep(keep)
            log_a, a, f, residual = log_a[keep], a[keep], f[keep], residual[keep]
        f = f + _RELAXATION * residual
    return solved.potentials(settings.eps)


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
