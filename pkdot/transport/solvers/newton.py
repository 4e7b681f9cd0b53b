r"""Newton's method for Sinkhorn's equations: the potentials of a batch of small problems, to many digits.

One sweep maps :math:`g` to :math:`g + r`. Near the solution the next sweeps shrink the residual by the same matrix,

.. math::
    T = \mathrm{diag}(c)^{-1} Q^\top \mathrm{diag}(a) \, Q, \qquad
    Q_{ij} = b_j e^{(f_i + g_j - C_{ij}) / \varepsilon}, \qquad c = Q^\top a,

so that all sweeps to come add up to :math:`r + T r + T^2 r + \dots = (I - T)^{-1} r`, which is Newton's step. Damping,
:math:`(I - (1 - \delta) T)^{-1} r`, leads back to the plain sweep as :math:`\delta \to 1`. A step is accepted if it
raises the dual value :math:`\langle a, f \rangle + \langle b, g \rangle`, which a plain sweep always does.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pkdot.transport.problem import Potentials, Settings, Solved, centred, marginal_error
from pkdot.transport.solvers.softmin import SMALLEST_EXPONENT, Softmin

_FIRST_DAMPING, _LEAST_DAMPING = 1e-2, 1e-8
_RELAX, _TIGHTEN = 0.1, 4.0


class _Point(NamedTuple):
    """Where P problems are, in units of eps: potentials, the sweep's result, and how good that is."""

    f: Tensor
    g: Tensor
    g_next: Tensor
    transition: Tensor
    value: Tensor
    error: Tensor


def newton_steps(cost: Tensor, a: Tensor, b: Tensor, start: Tensor, settings: Settings) -> Potentials:
    """Potentials of P problems from a start for ``g``; arguments: :func:`pkdot.transport.solvers.sinkhorn.solve`."""
    cost = cost / settings.eps
    softmin = Softmin(cost, a.shape[0])
    solved = Solved(a, b)
    point = _evaluate(softmin, cost, a, b, start / settings.eps)
    damping = torch.full_like(point.value, _FIRST_DAMPING)

    for step in range(1, settings.max_iter + 1):
        finished = point.error <= settings.tol if step < settings.max_iter else torch.ones_like(damping).bool()
        if finished.any():
            keep = solved.store(point.f, point.g_next, point.error, finished, step)
            if not keep.numel():
                break
            softmin.keep(keep)
            cost = cost if cost.shape[0] == 1 else cost[keep]
            a, b, damping, point = a[keep], b[keep], damping[keep], _Point(*(z[keep] for z in point))

        trial = _evaluate(softmin, cost, a, b, centred(point.g + _damped_step(point, a, b, damping), b))
        rounding = 1e-13 * (1 + point.value.abs())
        # Where the value cannot tell, the error does; where it can, a smaller error alone would lead in circles.
        gain = trial.value - point.value
        accepted = (gain > rounding) | ((gain >= -rounding) & (trial.error < point.error))
        damping = (damping * torch.where(accepted, _RELAX, _TIGHTEN)).clamp(_LEAST_DAMPING, 1.0)
        point = _Point(*(_where(accepted, new, old) for new, old in zip(trial, point, strict=True)))
    return solved.potentials(settings.eps)


def _evaluate(softmin: Softmin, cost: Tensor, a: Tensor, b: Tensor, g: Tensor) -> _Point:
    log_b = b.log()
    f = softmin.over_columns(g, log_b)
    g_next = softmin.over_rows(f, a.log())
    transition = (f.unsqueeze(-1) + (g + log_b).unsqueeze(-2) - cost).clamp_(min=SMALLEST_EXPONENT).exp_()
    value = (a * f).sum(-1) + (b * g).sum(-1)
    return _Point(f, g, g_next, transition, value, marginal_error(b, g_next - g))


def _damped_step(point: _Point, a: Tensor, b: Tensor, damping: Tensor) -> Tensor:
    sweep = centred(point.g_next - point.g, b)
    # In the basis scaled by sqrt(c) the matrix is symmetric: I - (1 - damping) H^T H.
    root = (point.transition.mT @ a.unsqueeze(-1)).sqrt()
    half = point.transition * a.sqrt().unsqueeze(-1) / root.mT
    identity = torch.eye(half.shape[-1], dtype=half.dtype, device=half.device)
    factor, failed = torch.linalg.cholesky_ex(identity - (1 - damping)[:, None, None] * (half.mT @ half))
    newton = (torch.cholesky_solve(root * sweep.unsqueeze(-1), factor) / root).squeeze(-1)
    sound = (failed == 0) & newton.isfinite().all(-1)
    return _where(sound, newton, sweep)


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(condition.reshape(-1, *[1] * (yes.dim() - 1)), yes, no)
