r"""Sinkhorn's equations for a batch of problems with cost matrices, each to its own tolerance.

A problem is a cost :math:`C` and two histograms :math:`a, b`. Its potentials solve

.. math::
    f_i = -\varepsilon \log \sum_j b_j e^{(g_j - C_{ij}) / \varepsilon}, \qquad
    g_j = -\varepsilon \log \sum_i a_i e^{(f_i - C_{ij}) / \varepsilon},

and its plan is :math:`P_{ij} = a_i b_j e^{(f_i + g_j - C_{ij}) / \varepsilon}`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pkdot.transport.constants import COOLING, MARGIN, NEWTON_MARGIN, SINGLE_TOL, SMALL
from pkdot.transport.problem import Goal, Potentials
from pkdot.transport.solvers.matrix import MatrixProblems
from pkdot.transport.solvers.newton import newton_steps
from pkdot.transport.solvers.sweeps import annealed, iterate

_Steps = Callable[[MatrixProblems, Tensor, Goal], Potentials]
# Most iterations at each temperature of the annealing, and marginal errors: of its end, and of a start that is kept.
_COARSE_ITERATIONS, _COARSE_TOL, _NEAR = 20, 0.1, 1e-3


def solve(
    cost: Tensor, a: Tensor, b: Tensor, goal: Goal, *, symmetric: bool = False, common_support: bool = False
) -> Potentials:
    r"""Potentials of P problems, in the units of the cost.

    A problem starts at a temperature near the range of its cost, which then falls to eps. Small balanced problems take
    Newton's steps, others sweeps. A symmetric problem needs neither annealing nor Newton: relaxed, the map
    :math:`f \leftarrow \mathrm{softmin}(f)` contracts by 1/3 or better where :math:`e^{-C / \varepsilon}` is positive
    definite, as it is for squared distances.

    >>> cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64)
    >>> half = torch.full((1, 2), 0.5, dtype=torch.float64)
    >>> solve(cost, half, half, Goal(blur=0.3, reach=math.inf, tol=1e-3, max_iter=100)).iterations
    tensor([1])

    Args:
        cost: ``(P, N, M)``, or ``(1, N, M)`` where all problems share it; in double precision, if the device has it.
        a: ``(P, N)`` histograms; zeros are allowed.
        b: ``(P, M)`` histograms; zeros are allowed.
        goal: how exactly.
        symmetric: ``b`` is ``a``, and the cost is symmetric and zero on the diagonal.
        common_support: ``a`` and ``b`` are histograms on the same points, between which the cost is symmetric.
    """
    small, dtype, cost = is_small(*cost.shape[-2:]), cost.dtype, cost / goal.eps
    goal = goal._replace(tol=goal.tol / (NEWTON_MARGIN if small else MARGIN))
    # Large matrices are as fast as they are read: in single precision, where that is exact enough.
    rounding = torch.finfo(torch.float32).eps
    if not small and len(cost) == len(a) and max(SINGLE_TOL, rounding * float(cost.max())) <= goal.tol:
        cost, a, b = cost.float(), a.float(), b.float()
    steps = newton_steps if small and goal.balanced else _swept
    problems = MatrixProblems(cost, a, b)
    found = _relaxed(problems, goal) if symmetric else _annealed(steps, problems, goal, common_support)
    return found._replace(f=found.f.to(dtype) * goal.eps, g=found.g.to(dtype) * goal.eps)


def is_small(n: int, m: int) -> bool:
    """Whether Newton's steps, rather than sweeps, solve a balanced problem of this size."""
    return max(n, m) <= SMALL


def _annealed(steps: _Steps, problems: MatrixProblems, goal: Goal, common_support: bool) -> Potentials:
    cost, a, b = problems.cost, problems.a, problems.b
    ranges = cost.amax((-2, -1)).expand(a.shape[0])
    g, near = torch.zeros_like(b), torch.zeros_like(ranges, dtype=torch.bool)
    if common_support:
        # Between isolated points almost any potentials solve a = b. Those of the middle are the ones that a converged
        # solution has in common with the two self terms.
        middle = _relaxed(MatrixProblems(cost, (a + b) / 2, (a + b) / 2), goal).f
        near = steps(MatrixProblems(cost, a, b), middle, goal._replace(max_iter=1)).marginal_error <= _NEAR
        g = torch.where(near.unsqueeze(-1), middle, g)

    def at(g: Tensor, temperature: float) -> Tensor:
        # A problem joins at its own range, whatever its neighbours' is.
        joins = (~near & (ranges > temperature / COOLING)).nonzero().squeeze(-1)
        if joins.numel():
            warm = goal._replace(blur=goal.blur * math.sqrt(temperature), tol=_COARSE_TOL, max_iter=_COARSE_ITERATIONS)
            part = MatrixProblems((cost if cost.shape[0] == 1 else cost[joins]) / temperature, a[joins], b[joins])
            g[joins] = temperature * steps(part, g[joins] / temperature, warm).g
        return g

    levels = math.ceil(math.log(max(float(ranges.max()), 1.0), COOLING))
    return steps(problems, annealed(at, g, COOLING**levels, COOLING), goal)


def _swept(problems: MatrixProblems, g: Tensor, goal: Goal) -> Potentials:
    whole = MatrixProblems(problems.cost, problems.a, problems.b)
    found = iterate(problems, g, problems.b, goal)
    return found._replace(g=goal.damping * whole.over_rows(found.f))  # the later g starts the next temperature better


def _relaxed(problems: MatrixProblems, goal: Goal) -> Potentials:
    start = goal.damping * problems.over_columns(torch.zeros_like(problems.b)) / 2
    return iterate(problems, start, problems.b, goal, symmetric=True)
