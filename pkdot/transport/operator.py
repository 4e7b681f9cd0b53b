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
    goal, balanced = Goal(blur, reach, tol, max_iter, terms), math.isinf(reach)
    solver = pick(backend, x, y, balanced=balanced)
    check_finite(x, y)
    dtypes = [z.dtype for z in (x, y, a, b)]
    x, y, a, b = (finest(z.detach()) for z in (x, y, a, b))
    # Near the origin single precision has more digits. Balanced transport sees a shift of one cloud in its mean alone.
    centre_x, centre_y = a.unsqueeze(-2) @ x, b.unsqueeze(-2) @ y
    if not balanced:
        centre_x = centre_y = (centre_x + centre_y) / 2
    between = centre_x - centre_y
    x, y = x - centre_x, y - centre_y
    solution = solver(Clouds(x, y, a, b), goal, wanted)
    warn_unless_converged(solution.marginal_error, tol)
    value = solution.value
    gradients = list(solution.gradients)
    if balanced:
        value = value + between.square().sum((-2, -1)) / 2
        for i, (points, weights, sign) in enumerate(((x, a, 1.0), (y, b, -1.0))):
            if wanted[i]:
                gradients[i] = gradients[i] + sign * weights.unsqueeze(-1) * between
            if wanted[i + 2]:
                potential = gradients[i + 2] + sign * (points @ between.mT).squeeze(-1)
                gradients[i + 2] = potential - (weights * potential).sum(-1, keepdim=True)
    gradients = [gradient.to(dtype) for gradient, dtype in zip(gradients, dtypes, strict=True)]
    return [value.to(dtypes[0]), solution.marginal_error.to(dtypes[0]), solution.iterations, *gradients]


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


def check_finite(x: Tensor, y: Tensor) -> None:
    """Raise ``ValueError`` unless the squares of all points are finite."""
    for name, z in (("x", x), ("y", y)):
        if not math.isfinite(float(torch.linalg.vector_norm(z.detach()))):
            raise ValueError(f"{name} holds NaN, infinity or values whose squares overflow; expected finite points.")


def warn_unless_converged(error: Tensor, tol: float) -> None:
    """Warn if a problem was stopped before its tolerance."""
    if not bool((error <= tol).all()):
        warnings.warn(
            "Sinkhorn stopped before its tolerance: the value and the gradient are approximate. Raise blur, tol or "
            "max_iter, or pass float64; return_info=True says which problems and by how much.",
            RuntimeWarning,
            stacklevel=6,
        )


def finest(z: Tensor) -> Tensor:
    """In double precision, where the device has it."""
    # A cost is divided by eps, small, before it is exponentiated: float32 would round away what tells plans apart.
    return z.float() if z.device.type == "mps" else z.double()
