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

from pkdot.transport.problem import Potentials, Settings
from pkdot.transport.solvers.newton import newton_steps
from pkdot.transport.solvers.sweeps import accelerated_sweeps, relaxed_sweeps

# A Newton step costs the cube of the number of points, a sweep its square.
SMALL = 384
# The gradient is first order in the marginal error, where the value is second order: aim beyond the tolerance, and
# further where another digit costs next to nothing.
_MARGIN_SMALL, _MARGIN_LARGE = 1e3, 1e1
# The temperature falls by this factor, after at most so many iterations, or at this marginal error.
_COOLING = 2.0
_COARSE_ITERATIONS = 20
_COARSE_TOL = 0.1
# A start this good is kept.
_NEAR = 1e-3


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
    return _in_enough_precision(relaxed_sweeps, cost, a, b, settings)


def _in_enough_precision(
    sweeps: Callable[..., Potentials], cost: Tensor, a: Tensor, b: Tensor, settings: Settings
) -> Potentials:
    """Solve large problems in the precision of the settings, where that is not too coarse for the tolerance."""
    small = is_small(*cost.shape[-2:])
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


def is_small(n: int, m: int) -> bool:
    """Whether Newton's steps, rather than sweeps, solve a problem of this size."""
    return max(n, m) <= SMALL


def _annealed(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> Potentials:
    iterate = newton_steps if is_small(*cost.shape[-2:]) and math.isinf(settings.rho) else accelerated_sweeps
    ranges = (cost.amax((-2, -1)) / settings.eps).expand(a.shape[0])
    g, near = torch.zeros_like(b), torch.zeros_like(ranges, dtype=torch.bool)
    if settings.common_support:
        # Between isolated points almost any potentials solve a = b. Those of the middle are the ones that a converged
        # solution has in common with the two self terms.
        middle = relaxed_sweeps(cost, (a + b) / 2, (a + b) / 2, settings).g
        near = iterate(cost, a, b, middle, settings._replace(max_iter=1)).marginal_error <= _NEAR
        g = torch.where(near.unsqueeze(-1), middle, g)
    for level in range(math.ceil(math.log(max(float(ranges.max()), 1.0), _COOLING)), 0, -1):
        # A problem joins at its own range, whatever its neighbours' is.
        joins = (~near & (ranges > _COOLING ** (level - 1))).nonzero().squeeze(-1)
        if joins.numel():
            part = (cost if cost.shape[0] == 1 else cost[joins]), a[joins], b[joins]
            warm = settings._replace(eps=settings.eps * _COOLING**level, tol=_COARSE_TOL, max_iter=_COARSE_ITERATIONS)
            g[joins] = iterate(*part, g[joins], warm).g.to(g.dtype)
    return iterate(cost, a, b, g, settings)
