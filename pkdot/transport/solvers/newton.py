r"""Newton's method for Sinkhorn's equations: the potentials of a batch of small balanced problems, to many digits.

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

from pkdot.transport.constants import SMALLEST_EXPONENT
from pkdot.transport.problem import Goal, Point, Potentials, Solved
from pkdot.transport.solvers.matrix import MatrixProblems
from pkdot.transport.solvers.sweeps import centred, marginal_error, where

_FIRST_DAMPING, _LEAST_DAMPING, _RELAX, _TIGHTEN = 1e-2, 1e-8, 0.1, 4.0


class _State(NamedTuple):
    """Where P problems are, what a sweep makes of it, and how good that is."""

    f: Tensor
    g: Tensor
    g_next: Tensor
    error: Tensor
    transition: Tensor
    value: Tensor


def newton_steps(problems: MatrixProblems, start: Tensor, goal: Goal) -> Potentials:
    """Potentials of P problems from a start for ``g``, all in units of eps."""
    state = _evaluate(problems, start)
    damping, solved = torch.full_like(state.value, _FIRST_DAMPING), Solved()
    for step in range(1, goal.max_iter + 1):
        # Both results of a sweep are at hand: the later one starts the next temperature better.
        point = Point(state.f, state.g_next, state.error)
        keep = solved.store(point, ~(state.error > (goal.tol if step < goal.max_iter else torch.inf)), step)
        if keep is not None:
            if not keep.numel():
                break
            problems.keep(keep)
            damping, state = damping[keep], _State(*(z[keep] for z in state))
        trial = _evaluate(problems, centred(state.g + _damped_step(state, problems, damping), problems.b))
        rounding = 1e-13 * (1 + state.value.abs())
        # Where the value cannot tell, the error does; where it can, a smaller error alone would lead in circles.
        gain = trial.value - state.value
        accepted = (gain > rounding) | ((gain >= -rounding) & (trial.error < state.error))
        damping = (damping * torch.where(accepted, _RELAX, _TIGHTEN)).clamp(_LEAST_DAMPING, 1.0)
        state = _State(*where(accepted, trial, state))
    return solved.potentials


def _evaluate(problems: MatrixProblems, g: Tensor) -> _State:
    a, b, f = problems.a, problems.b, problems.over_columns(g)
    g_next = problems.over_rows(f)
    exponents = f.unsqueeze(-1) + (g + b.log()).unsqueeze(-2) - problems.cost
    transition, value = exponents.clamp_(min=SMALLEST_EXPONENT).exp_(), (a * f).sum(-1) + (b * g).sum(-1)
    return _State(f, g, g_next, marginal_error(b, g_next - g), transition, value)


def _damped_step(state: _State, problems: MatrixProblems, damping: Tensor) -> Tensor:
    plain, a = centred(state.g_next - state.g, problems.b), problems.a.unsqueeze(-1)
    # In the basis scaled by sqrt(c) the matrix is symmetric: I - (1 - damping) H^T H.
    root = (state.transition.mT @ a).sqrt()
    half = state.transition * a.sqrt() / root.mT
    identity = torch.eye(half.shape[-1], dtype=half.dtype, device=half.device)
    factor, failed = torch.linalg.cholesky_ex(identity - (1 - damping)[:, None, None] * (half.mT @ half))
    newton = (torch.cholesky_solve(root * plain.unsqueeze(-1), factor) / root).squeeze(-1)
    return torch.where(((failed == 0) & newton.isfinite().all(-1)).unsqueeze(-1), newton, plain)
