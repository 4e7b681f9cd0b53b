r"""Entropic transport as differentiable operators: divergences between clouds, and transport between histograms.

By the envelope theorem (Danskin) the gradients at the solution are parts of the solution: they need no derivative of
the solver. They are computed with the value, and have the shapes of the points and weights. So nothing of size N x M is
kept for the backward pass, which is one product.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pkdot.transport.backends import pick
from pkdot.transport.problem import Clouds, Goal, check_finite
from pkdot.transport.solvers.sinkhorn import solve
from pkdot.transport.solvers.sweeps import centred


def solve_divergence(clouds: Clouds, goal: Goal, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """Values ``(P,)`` of P divergences, differentiable once in points and weights; marginal errors and iterations.

    >>> x, a = torch.tensor([[[0.0], [1.0]]], requires_grad=True), torch.full((1, 2), 0.5)
    >>> goal = Goal(blur=0.1, reach=float("inf"), tol=1e-3, max_iter=100, terms=3)
    >>> value, error, iterations = solve_divergence(Clouds(x, x.detach() + 1.0, a, a), goal, "torch")
    >>> torch.autograd.grad(value.sum(), x)[0]
    tensor([[[-0.5000],
             [-0.5000]]])

    Raises:
        ValueError: a point is not finite; the backend cannot solve this.
        RuntimeError: in the backward pass, where the gradient is differentiated again.

    Warns:
        RuntimeWarning: a problem was stopped before its tolerance.
    """
    value, error, iterations = _Envelope.apply("divergence", (*goal, backend), *clouds)  # type: ignore[no-untyped-call]
    return value, error, iterations


def solve_histograms(cost: Tensor, a: Tensor, b: Tensor, goal: Goal, *, symmetric: bool = False) -> Tensor:
    r"""Entropic OT ``(P,)`` between histograms on one support, differentiable once in both; the gradients have mean 0.

    .. math::
        \min_{P \in \Pi(a, b)} \langle P, C \rangle + \varepsilon \, \mathrm{KL}(P \,\|\, a b^\top)
        = \langle a, f \rangle + \langle b, g \rangle, \qquad \partial a = f, \quad \partial b = g.

    >>> cost, a = torch.tensor([[[0.0, 2.0], [2.0, 0.0]]]).double(), torch.tensor([[0.9, 0.1]]).double()
    >>> goal = Goal(blur=0.1, reach=float("inf"), tol=1e-3, max_iter=100)
    >>> solve_histograms(cost, a, a.flip(-1), goal)  # 0.8 of the mass moves, at cost 2
    tensor([1.6001], dtype=torch.float64)

    Args:
        cost: ``(P, N, N)`` or, shared by all, ``(1, N, N)``; symmetric, in double precision.
        a: ``(P, N)`` histograms.
        b: ``(P, N)`` histograms.
        goal: how exactly.
        symmetric: ``b`` is ``a``. It must be another tensor: torch.compile takes none twice.

    Raises:
        RuntimeError: in the backward pass, where the gradient is differentiated again.

    Warns:
        RuntimeWarning: a problem was stopped before its tolerance.
    """
    value: Tensor = _Envelope.apply("histograms", (*goal, symmetric), cost, a, b)[0]  # type: ignore[no-untyped-call]
    return value


class _Envelope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, name: str, settings: Sequence[Any], *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wanted = [bool(needed) for needed in ctx.needs_input_grad[2:]]
        solver, operator = _OPERATORS[name]
        # Outside torch.compile the operator's dispatch would cost as much as a small problem.
        solved = (operator if torch.compiler.is_compiling() else solver)(*inputs, *settings, wanted)
        value, error, iterations, *gradients = solved
        ctx.save_for_backward(*inputs, *gradients)
        ctx.mark_non_differentiable(error, iterations)
        return value, error, iterations

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[2:]
        inputs, gradients = ctx.saved_tensors[: len(needs)], ctx.saved_tensors[len(needs) :]
        scaled: list[Tensor | None] = []
        for needed, source, gradient in zip(needs, inputs, gradients, strict=True):
            product = upstream.reshape(-1, *[1] * (gradient.dim() - 1)) * gradient if needed else None
            if product is not None and torch.is_grad_enabled():
                product = _FirstOrder.apply(product, source)  # type: ignore[no-untyped-call]
            scaled.append(product)
        return None, None, *scaled


class _FirstOrder(torch.autograd.Function):
    """A gradient that is right, but whose own gradient would not be."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, source: Tensor) -> Tensor:
        """The gradient itself, tied to what it depends on."""
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
        """Raise."""
        raise RuntimeError(
            "the gradient of entropic OT was differentiated a second time; it comes from the envelope theorem, which "
            "gives first derivatives only."
        )


def _solve_divergence(
    x: Tensor,
    y: Tensor,
    a: Tensor,
    b: Tensor,
    blur: float,
    reach: float,
    tol: float,
    max_iter: int,
    terms: int,
    backend: str,
    wanted: Sequence[bool],
) -> list[Tensor]:
    """Value, marginal error, iterations, and the gradients of x, y, a and b, empty where they are not wanted."""
    goal = Goal(blur, reach, tol, max_iter, terms)
    solver = pick(backend, goal, device=x.device.type, entries=x.shape[1] * y.shape[1])
    solution = solver(Clouds(x.detach(), y.detach(), a.detach(), b.detach()), goal, wanted)
    if not _warn_unless_converged(solution.marginal_error, tol):
        check_finite(x, y)  # a kernel on a GPU does not stop for it
    value, error = solution.value.to(x.dtype), solution.marginal_error.to(x.dtype)
    gradients = (z.to(x.dtype) if want else x.new_empty(0) for z, want in zip(solution.gradients, wanted, strict=True))
    return [value, error, solution.iterations, *gradients]


def _solve_histograms(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    blur: float,
    reach: float,
    tol: float,
    max_iter: int,
    terms: int,
    symmetric: bool,
    wanted: Sequence[bool],
) -> list[Tensor]:
    """Value, marginal error, iterations, and the gradients of the cost, which has none, of a and of b."""
    cost, a, b = cost.detach(), a.detach(), b.detach()
    goal = Goal(blur, reach, tol, max_iter, terms)
    f, g, error, iterations = solve(cost, a, b, goal, symmetric=symmetric, common_support=True)
    _warn_unless_converged(error, tol)
    # f + c and g - c solve the same problem: the gradients lie in the plane of histograms.
    gradients = [
        centred(potential, weight) if want else weight.new_empty(0)
        for want, potential, weight in zip(wanted[1:], (f, g), (a, b), strict=True)
    ]
    value = (a * f).sum(-1) + (b * g).sum(-1)
    return [value, error.to(value.dtype), iterations, cost.new_empty(0), *gradients]


def _operator(name: str, solver: Callable[..., list[Tensor]], schema: str) -> Any:
    """The solver as one operator, which ``torch.compile`` calls and does not look into."""
    operator = torch.library.custom_op(f"pkdot::{name}", solver, mutates_args=(), schema=schema)

    @operator.register_fake
    def _(*arguments: Any) -> list[Tensor]:
        wanted, inputs = arguments[-1], arguments[: len(arguments[-1])]
        problems = inputs[-1].shape[:1]
        return [
            inputs[-1].new_empty(problems),
            inputs[-1].new_empty(problems),
            inputs[-1].new_empty(problems, dtype=torch.int64),
            *(torch.empty_like(z) if want else z.new_empty(0) for z, want in zip(inputs, wanted, strict=True)),
        ]

    return operator


_GOAL = "float blur, float reach, float tol, SymInt max_iter, SymInt terms"
_OPERATORS: dict[str, tuple[Callable[..., list[Tensor]], Callable[..., list[Tensor]]]] = {
    "divergence": (
        _solve_divergence,
        _operator(
            "sinkhorn_divergence",
            _solve_divergence,
            f"(Tensor x, Tensor y, Tensor a, Tensor b, {_GOAL}, str backend, bool[] wanted) -> Tensor[]",
        ),
    ),
    "histograms": (
        _solve_histograms,
        _operator(
            "histogram_transport",
            _solve_histograms,
            f"(Tensor cost, Tensor a, Tensor b, {_GOAL}, bool symmetric, bool[] wanted) -> Tensor[]",
        ),
    ),
}


def _warn_unless_converged(error: Tensor, tol: float) -> bool:
    """Warn if a problem was stopped before its tolerance; return whether none was."""
    converged = float(error.max()) <= tol
    if not converged:
        warnings.warn(
            "Sinkhorn stopped before its tolerance: the value and the gradient are approximate. Raise blur, tol or "
            "max_iter, or pass float64; return_info=True says which problems and by how much.",
            RuntimeWarning,
            stacklevel=6,
        )
    return converged
