r"""Entropic optimal transport as a differentiable function of both histograms.

.. math::
    \mathrm{OT}_\varepsilon(C, a, b) = \min_{P \in \Pi(a, b)} \langle P, C \rangle
    + \varepsilon \, \mathrm{KL}(P \,\|\, a b^\top) = \langle a, f \rangle + \langle b, g \rangle

By the envelope theorem (Danskin) the gradients at the solution are the solution's own parts:
:math:`\partial a = f`, :math:`\partial b = g`, the potentials up to a constant.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pkdot.transport.operator import FirstOrder, warn_unless_converged
from pkdot.transport.problem import Settings
from pkdot.transport.solvers.sinkhorn import solve, solve_symmetric
from pkdot.transport.solvers.softmin import SMALLEST_EXPONENT


class EntropicOT(NamedTuple):
    """Transport costs ``(P,)`` with their gradient, and how well each problem was solved."""

    value: Tensor
    marginal_error: Tensor
    iterations: Tensor


def entropic_ot(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> EntropicOT:
    """OT between histograms ``a (P, N)`` and ``b (P, M)`` at cost ``(P, N, M)`` or, shared, ``(1, N, M)``.

    First derivatives only: differentiating the gradient raises ``RuntimeError``.
    """
    return EntropicOT(*_Envelope.apply(cost, a, b, settings, False))  # type: ignore[no-untyped-call]


def entropic_self_ot(cost: Tensor, a: Tensor, settings: Settings) -> EntropicOT:
    """OT between a histogram and itself, at a symmetric cost: :func:`entropic_ot` by the faster symmetric sweeps."""
    # A second tensor, as torch.compile takes no tensor twice.
    return EntropicOT(*_Envelope.apply(cost, a, a.clone(), settings, True))  # type: ignore[no-untyped-call]


@torch.library.custom_op("pkdot::sinkhorn", mutates_args=())
def potentials(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    eps: float,
    tol: float,
    max_iter: int,
    dtype: torch.dtype,
    common_support: bool,
    rho: float,
    symmetric: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The solver as one operator, which ``torch.compile`` calls and does not look into: f, g, error, iterations."""
    solver = solve_symmetric if symmetric else solve
    solution = solver(cost, a, b, Settings(eps, tol, max_iter, dtype, common_support, rho))
    warn_unless_converged(solution.marginal_error, tol)
    return solution.f, solution.g, solution.marginal_error, solution.iterations


@potentials.register_fake
def _(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    eps: float,
    tol: float,
    max_iter: int,
    dtype: torch.dtype,
    common_support: bool,
    rho: float,
    symmetric: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    problems = a.shape[:-1]
    return (
        torch.empty_like(a),
        torch.empty_like(b),
        a.new_empty(problems),
        a.new_empty(problems, dtype=torch.int64),
    )


def plan(cost: Tensor, a: Tensor, b: Tensor, f: Tensor, g: Tensor, eps: float) -> Tensor:
    """``(P, N, M)`` transport plan of a pair of potentials."""
    log_mass = (f.unsqueeze(-1) + g.unsqueeze(-2) - cost) / eps + a.log().unsqueeze(-1) + b.log().unsqueeze(-2)
    return log_mass.clamp_(min=SMALLEST_EXPONENT).exp_()


class _Envelope(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cost: Tensor, a: Tensor, b: Tensor, settings: Settings, symmetric: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        f, g, error, iterations = potentials(cost, a, b, *settings, symmetric)
        ctx.save_for_backward(a, b, f, g)
        ctx.mark_non_differentiable(error, iterations)
        return (a * f).sum(-1) + (b * g).sum(-1), error, iterations

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        a, b, f, g = ctx.saved_tensors
        gradients = []
        for needed, weight, potential in zip(ctx.needs_input_grad[1:3], (a, b), (f, g), strict=True):
            gradient = (potential - (weight * potential).sum(-1, keepdim=True)) * upstream[:, None] if needed else None
            if gradient is not None and torch.is_grad_enabled():
                gradient = FirstOrder.apply(gradient, weight)  # type: ignore[no-untyped-call]
            gradients.append(gradient)
        return None, *gradients, None, None
