r"""The Sinkhorn divergence as one differentiable operator, whoever solves it.

By the envelope theorem (Danskin) the gradients at the solution are parts of the solution: they need no derivative of
the solver. They are computed with the value and kept in the shape of their points and weights, so that nothing of size
N x M outlives the forward pass, and the backward pass is one product.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pkdot.transport.backends import pick
from pkdot.transport.problem import Clouds, Goal
from pkdot.transport.torch_backend import check_finite


def solve_divergence(clouds: Clouds, goal: Goal, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """Values ``(P,)`` of P divergences, differentiable once in points and weights; marginal errors and iterations.

    Raises:
        ValueError: a point is not finite; the backend cannot solve this.
        RuntimeError: in the backward pass, where the gradient is differentiated again.

    Warns:
        RuntimeWarning: a problem was stopped before its tolerance.
    """
    value, error, iterations = _Envelope.apply(*clouds, goal, backend)  # type: ignore[no-untyped-call]
    return value, error, iterations


class _Envelope(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, goal: Goal, backend: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        wanted = [bool(needed) for needed in ctx.needs_input_grad[:4]]
        # Outside torch.compile the operator's dispatch would cost as much as a small problem.
        operator = _operator if torch.compiler.is_compiling() else _solve
        value, error, iterations, *gradients = operator(x, y, a, b, *goal, backend, wanted)
        ctx.save_for_backward(x, y, a, b, *gradients)
        ctx.mark_non_differentiable(error, iterations)
        return value, error, iterations

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        inputs, gradients = ctx.saved_tensors[:4], ctx.saved_tensors[4:]
        scaled: list[Tensor | None] = []
        for needed, source, gradient in zip(ctx.needs_input_grad[:4], inputs, gradients, strict=True):
            product = upstream.reshape(-1, *[1] * (gradient.dim() - 1)) * gradient if needed else None
            if product is not None and torch.is_grad_enabled():
                product = FirstOrder.apply(product, source)  # type: ignore[no-untyped-call]
            scaled.append(product)
        return *scaled, None, None


class FirstOrder(torch.autograd.Function):
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


def _solve(
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
    solver = pick(backend, x, y, balanced=math.isinf(reach), tol=tol)
    clouds = Clouds(x.detach(), y.detach(), a.detach(), b.detach())
    solution = solver(clouds, Goal(blur, reach, tol, max_iter, terms), wanted)
    if not warn_unless_converged(solution.marginal_error, tol):
        check_finite(x, y)  # a kernel on a GPU does not stop for it
    value, error = solution.value.to(x.dtype), solution.marginal_error.to(x.dtype)
    gradients = (z.to(x.dtype) if want else x.new_empty(0) for z, want in zip(solution.gradients, wanted, strict=True))
    return [value, error, solution.iterations, *gradients]


_operator = torch.library.custom_op(
    "pkdot::sinkhorn_divergence",
    _solve,
    mutates_args=(),
    schema="(Tensor x, Tensor y, Tensor a, Tensor b, float blur, float reach, float tol, SymInt max_iter, "
    "SymInt terms, str backend, bool[] wanted) -> Tensor[]",
)


@_operator.register_fake
def _(x: Tensor, y: Tensor, a: Tensor, b: Tensor, *settings: Any) -> list[Tensor]:
    problems, wanted = x.shape[:1], settings[-1]
    return [
        x.new_empty(problems),
        x.new_empty(problems),
        x.new_empty(problems, dtype=torch.int64),
        *(torch.empty_like(z) if want else z.new_empty(0) for z, want in zip((x, y, a, b), wanted, strict=True)),
    ]


def warn_unless_converged(error: Tensor, tol: float) -> bool:
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
