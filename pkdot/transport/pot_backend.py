"""Backend ``pot``: the solvers of POT (Python Optimal Transport), an engine that shares no solver with the others.

With a blur it runs plain Sinkhorn sweeps: slower, and good to check the other backends. At blur 0 it solves exact
transport by its network simplex, which the other backends cannot do. Both run on the CPU, in float64, problem by
problem; points on another device are copied. POT is imported with the first problem.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pkdot.transport import torch_backend
from pkdot.transport.constants import MARGIN
from pkdot.transport.problem import Clouds, Coupling, Goal, Potentials, Solution

# Largest number of steps of the network simplex. It ends by itself: clouds that fit into RAM need fewer.
_MOST_PIVOTS = 100_000_000


def divergence(clouds: Clouds, goal: Goal, wanted: Sequence[bool]) -> Solution:
    """Divergences of P balanced problems: a :data:`pkdot.transport.problem.Backend`."""
    on_cpu = Clouds(*(z.cpu() for z in clouds))
    found = torch_backend.divergence(on_cpu, goal, wanted, _couple)
    value, error, iterations, *gradients = (z.to(clouds.x.device) for z in (*found[:3], *found.gradients))
    return Solution(value, error, iterations, gradients)


def _couple(clouds: Clouds, goal: Goal, symmetric: bool, barycentres: Sequence[bool]) -> Coupling:
    x, y, a, b = clouds
    a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
    cost = torch_backend.half_squared_distances(x, y)
    solve = _sinkhorn if goal.blur > 0 else _simplex
    solved = [solve(*problem, goal) for problem in zip(cost, a, b, strict=True)]
    f, g, plan, iterations = (torch.stack(part) for part in zip(*solved, strict=True))
    if symmetric:
        # Between isolated points f + c and g - c, with a c for each point, have the same plan: the mean has no c. From
        # it a sweep finds what the potential is at points without weight.
        exponents = ((f + g).unsqueeze(-2) / 2 - cost) / goal.eps + b.log().unsqueeze(-2)
        f = g = -goal.eps * exponents.logsumexp(-1)
    rows, columns = plan.sum(-1), plan.sum(-2)
    error = (rows - a).abs().sum(-1) + (columns - b).abs().sum(-1)
    # A point without weight moves nothing, and any barycentre will do.
    smallest, empty = torch.finfo(plan.dtype).tiny, x.new_empty(0)
    return Coupling(
        Potentials(f, g, error.where(iterations >= 0, torch.inf), iterations.clamp(min=0)),
        (plan @ y) / rows.unsqueeze(-1).clamp(min=smallest) if barycentres[0] else empty,
        (plan.mT @ x) / columns.unsqueeze(-1).clamp(min=smallest) if barycentres[1] else empty,
    )


def _sinkhorn(cost: Tensor, a: Tensor, b: Tensor, goal: Goal) -> tuple[Tensor, ...]:
    """Potentials, plan and sweeps of one problem."""
    from ot.bregman import sinkhorn_log

    # The logarithm of a weight of 0 would make NaN of the potential, which is defined there.
    a, b = a.clamp(min=1e-300), b.clamp(min=1e-300)
    # POT looks at the Euclidean norm of the marginal error.
    tol = goal.tol / MARGIN / math.sqrt(len(b))
    plan, log = sinkhorn_log(
        *(z.numpy() for z in (a, b, cost)), goal.eps, goal.max_iter, stopThr=tol, log=True, warn=False
    )
    f, g = (goal.eps * (torch.from_numpy(log[name]) - w.log()) for name, w in (("log_u", a), ("log_v", b)))
    return f, g, torch.from_numpy(plan), torch.tensor(log["niter"] + 1)


def _simplex(cost: Tensor, a: Tensor, b: Tensor, goal: Goal) -> tuple[Tensor, ...]:
    """The same of transport without entropy; -1 where it was stopped, else 0, as POT does not count its steps."""
    from ot import emd

    plan, log = emd(*(z.numpy() for z in (a, b, cost)), numItermax=_MOST_PIVOTS, log=True)
    steps = torch.tensor(0 if log["warning"] is None else -1)
    return torch.from_numpy(log["u"]), torch.from_numpy(log["v"]), torch.from_numpy(plan), steps
