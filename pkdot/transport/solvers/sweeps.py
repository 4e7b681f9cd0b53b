"""The loop of Sinkhorn's sweeps: the same for a cost matrix in memory, for large clouds and for tiles on a GPU.

Potentials are in units of eps. A sweep takes g to f, the soft minimum over the columns, and f to the next g. How much
g changes says by how much the plan's columns miss their weights.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pkdot.transport.constants import LARGEST_EXPONENT, LOST, RELAXATION
from pkdot.transport.problem import Goal, Point, Potentials, Softmins, Solved
from pkdot.transport.solvers.anderson import Anderson


def iterate(
    softmins: Softmins, g: Tensor, weight: Tensor, goal: Goal, *, symmetric: bool = False, patience: int = 1
) -> Potentials:
    """Sweep until each problem has reached its tolerance; return the best point of each.

    The steps are extrapolated, or, for symmetric problems, relaxed. A problem that has converged leaves the batch:
    its result does not depend on its neighbours, and it costs nothing more.

    Args:
        softmins: the two halves of a sweep.
        g: ``(P, M)``, the start.
        weight: ``(P, M)`` weights of the columns.
        goal: tolerance, most sweeps, damping.
        symmetric: x and y of each problem are the same cloud, so f is the next g.
        patience: sweeps between two looks at the errors. Each look waits for the device.
    """
    anderson, solved, best = None if symmetric else Anderson(g), Solved(), None
    follows = torch.zeros(g.shape[0], dtype=torch.bool, device=g.device)
    for sweep in range(1, goal.max_iter + 1):
        f = _damped(softmins.over_columns(g), goal)
        follows = torch.zeros_like(follows) if softmins.moved else follows
        residual = (f if symmetric else _damped(softmins.over_rows(f), goal)) - g
        point = Point(f, g, marginal_error(weight, residual / goal.damping))
        best = point if best is None or symmetric else Point(*where(point.error < best.error, point, best))
        if sweep % patience == 0 or sweep == goal.max_iter:
            keep = solved.store(best, ~(best.error > (goal.tol if sweep < goal.max_iter else torch.inf)), sweep)
            if keep is not None:
                if not keep.numel():
                    break
                softmins.keep(keep)
                point, best = (Point(*(z[keep] for z in kept)) for kept in (point, best))
                g, residual, weight, follows = (z[keep] for z in (g, residual, weight, follows))
                if anderson:
                    anderson.keep(keep)
        if anderson is None:
            g = g + RELAXATION * residual
            continue
        # Where all mass is moved, f + c and g - c solve the same problem, and a drifting c takes the digits.
        step = centred(residual, weight) if goal.balanced else residual
        lost = ~(point.error <= LOST * best.error)
        g = torch.where(lost[:, None], best.g, anderson.advance(g, step, weight, follows & ~lost))
        follows = ~lost
    return solved.potentials


def annealed(at: Callable[[Tensor, float], Tensor], g: Tensor, hottest: float, cooling: float) -> Tensor:
    """The start of a problem: each temperature, in units of eps, starts from the potential of the one before."""
    temperature = hottest
    while temperature > 1.0:
        g = at(g, temperature)
        temperature /= cooling
    return g


def where(condition: Tensor, yes: Sequence[Tensor], no: Sequence[Tensor]) -> list[Tensor]:
    """Choose ``yes`` or ``no`` for each problem."""
    shapes = [condition, condition[:, None], condition[:, None, None]]
    return [torch.where(shapes[old.dim() - 1], new, old) for new, old in zip(yes, no, strict=True)]


def marginal_error(weight: Tensor, residual: Tensor) -> Tensor:
    """L1 distance of the plan's columns from ``weight``, which they miss by the factor ``exp(-residual)``."""
    return (weight * (-residual).clamp(max=LARGEST_EXPONENT).expm1().abs()).sum(-1)


def centred(potential: Tensor, weight: Tensor) -> Tensor:
    """The potential with mean 0."""
    return potential - (weight * potential).sum(-1, keepdim=True)


def _damped(potential: Tensor, goal: Goal) -> Tensor:
    return potential if goal.balanced else goal.damping * potential
