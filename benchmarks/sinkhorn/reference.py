"""Converged values and gradients in float64, by a solver that shares no code with those that are measured."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.sinkhorn.clouds import BLUR, EPS
from pkdot.transport.divergence import transport_plan

TOL = 1e-9
LARGE = 1024
"""Above this many points the plan between the two clouds is pkdot's own, in float64, and only its marginals are
checked here; the two self terms are solved here at any size."""
_WARM_SWEEPS, _SWEEPS, _SELF_SWEEPS, _NEWTON_STEPS, _HALVINGS = 20, 200, 300, 60, 12
_ROWS = 512


@dataclass(frozen=True)
class Reference:
    """What every method is compared with.

    Attributes:
        value: ``(N,)`` divergences.
        gradient: ``(N, B, k)`` with respect to the first cloud, of the sum of the divergences.
        marginal_error: the largest L1 distance of any plan's two marginals from the weights.
    """

    value: Tensor
    gradient: Tensor
    marginal_error: float


def reference(x: Tensor, y: Tensor, *, large: int = LARGE) -> Reference:
    """The debiased divergence of ``(N, B, k)`` clouds at uniform weights, and its gradient in x."""
    x, y = x.detach().double().cpu(), y.detach().double().cpu()
    if x.shape[-2] > large:
        crossing = transport_plan(x, y, blur=BLUR, tol=TOL, max_iter=10_000)
    else:
        crossing = _plan(_cost(x, y), *_solve(_cost(x, y)))
    value, gradient, error = _read_off(crossing, x, y)
    del crossing
    for z in (x, y):
        cost = _cost(z, z)
        f = _solve_self(cost)
        own, own_gradient, own_error = _read_off(_plan(cost, f, f), z, z)
        value, error = value - own / 2, max(error, own_error)
        if z is x:
            # Both arguments of the self term are x: its half counts twice.
            gradient = gradient - own_gradient
    return Reference(value, gradient, error)


def _cost(x: Tensor, y: Tensor) -> Tensor:
    """In units of eps."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square() / (2 * EPS)


def _plan(cost: Tensor, f: Tensor, g: Tensor) -> Tensor:
    return (f.unsqueeze(-1) + g.unsqueeze(-2) - cost - 2 * math.log(cost.shape[-1])).exp()


def _marginal_errors(plan: Tensor) -> Tensor:
    weight = 1 / plan.shape[-1]
    return (plan.sum(-1) - weight).abs().sum(-1) + (plan.sum(-2) - weight).abs().sum(-1)


def _read_off(plan: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """Value, gradient in x with y held fixed, and marginal error of a plan."""
    entropy = torch.xlogy(plan, plan).sum((-2, -1)) + 2 * math.log(plan.shape[-1]) * plan.sum((-2, -1))
    value = EPS * ((plan * _cost(x, y)).sum((-2, -1)) + entropy)
    gradient = plan.sum(-1, keepdim=True) * x - plan @ y
    return value, gradient, float(_marginal_errors(plan).max())


def _softmin(cost: Tensor, g: Tensor, temperature: float = 1.0) -> Tensor:
    """Potentials of the rows, a block of rows at a time."""
    level = math.log(cost.shape[-1])
    blocks = [
        -temperature * (((g.unsqueeze(-2) - rows) / temperature).logsumexp(-1) - level)
        for rows in torch.split(cost, _ROWS, dim=-2)
    ]
    return torch.cat(blocks, dim=-1)


def _solve(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Sinkhorn's sweeps at a falling temperature, then Newton's steps on the dual until the marginals are right."""
    f, g = torch.zeros_like(cost[..., 0]), torch.zeros_like(cost[..., 0, :])
    levels = math.ceil(math.log2(max(float(cost.max()), 1.0)))
    for level in range(levels, -1, -1):
        for _ in range(_SWEEPS if level == 0 else _WARM_SWEEPS):
            f = _softmin(cost, g, 2.0**level)
            g = _softmin(cost.mT, f, 2.0**level)
    for _ in range(_NEWTON_STEPS):
        plan = _plan(cost, f, g)
        error = _marginal_errors(plan)
        if float(error.max()) <= TOL:
            break
        to_f, to_g = _newton_direction(plan)
        step = torch.ones_like(error)
        for _ in range(_HALVINGS):
            moved = _marginal_errors(_plan(cost, f + step[:, None] * to_f, g + step[:, None] * to_g))
            worse = ~(moved < error) & (error > TOL)
            if not worse.any():
                break
            step = torch.where(worse, step / 2, step)
        step = torch.where(worse | (error <= TOL), 0.0, step)[:, None]
        f, g = f + step * to_f.nan_to_num(0.0), g + step * to_g.nan_to_num(0.0)
        for _ in range(10 if worse.any() else 1):
            f = _softmin(cost, g)
            g = _softmin(cost.mT, f)
    return f, g


def _newton_direction(plan: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns, weight = plan.sum(-1), plan.sum(-2), 1 / plan.shape[-1]
    lack_rows, lack_columns = weight - rows, weight - columns
    scaled = plan / rows.unsqueeze(-1)
    # Adding a constant to g and taking it from f changes nothing: pin it down by a rank-one term.
    schur = torch.diag_embed(columns) - plan.mT @ scaled + weight**2
    right = lack_columns - (scaled.mT @ lack_rows.unsqueeze(-1)).squeeze(-1)
    # Classes that hardly exchange mass leave it almost singular.
    ridge = 1e-15 * torch.eye(plan.shape[-1], dtype=plan.dtype)
    to_g = torch.linalg.solve_ex(schur + ridge, right).result
    return (lack_rows - (plan @ to_g.unsqueeze(-1)).squeeze(-1)) / rows, to_g


def _solve_self(cost: Tensor) -> Tensor:
    """The potential between a cloud and itself, by averaging."""
    f = torch.zeros_like(cost[..., 0])
    for _ in range(_SELF_SWEEPS):
        moved = _softmin(cost, f)
        change = float((moved - f).abs().max())
        f = (f + moved) / 2
        if change <= TOL / 10:
            break
    return f
