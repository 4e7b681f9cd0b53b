"""The Sinkhorn divergence between clouds of points: what the rest of pkdot calls."""

import math
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from pkdot.transport.backends import BACKENDS
from pkdot.transport.constants import SMALLEST_EXPONENT
from pkdot.transport.operator import solve_divergence
from pkdot.transport.problem import Clouds, Goal, check_finite
from pkdot.transport.solvers.sinkhorn import solve
from pkdot.transport.torch_backend import finest, half_squared_distances

MAX_ITER = 1000


@dataclass(frozen=True)
class SinkhornInfo:
    """How well each problem was solved; of a debiased divergence, the worst of its three problems.

    Attributes:
        marginal_error: ``(*)``, L1 distance between the plan's marginals and the weights.
        iterations: ``(*)`` int64, Newton steps or sweeps at the final temperature.
        converged: ``(*)`` bool, the marginal error is at most ``tol``.
    """

    marginal_error: Tensor
    iterations: Tensor
    converged: Tensor


@overload
def sinkhorn_divergence(
    x: Tensor,
    y: Tensor,
    *,
    blur: float = ...,
    a: Tensor | None = ...,
    b: Tensor | None = ...,
    x_mask: Tensor | None = ...,
    y_mask: Tensor | None = ...,
    reach: float | None = ...,
    debias: bool = ...,
    y_self: Tensor | None = ...,
    tol: float = ...,
    max_iter: int = ...,
    backend: str = ...,
    return_info: Literal[False] = ...,
) -> Tensor: ...
@overload
def sinkhorn_divergence(
    x: Tensor,
    y: Tensor,
    *,
    blur: float = ...,
    a: Tensor | None = ...,
    b: Tensor | None = ...,
    x_mask: Tensor | None = ...,
    y_mask: Tensor | None = ...,
    reach: float | None = ...,
    debias: bool = ...,
    y_self: Tensor | None = ...,
    tol: float = ...,
    max_iter: int = ...,
    backend: str = ...,
    return_info: Literal[True],
) -> tuple[Tensor, SinkhornInfo]: ...


def sinkhorn_divergence(
    x: Tensor,
    y: Tensor,
    *,
    blur: float = 0.1,
    a: Tensor | None = None,
    b: Tensor | None = None,
    x_mask: Tensor | None = None,
    y_mask: Tensor | None = None,
    reach: float | None = None,
    debias: bool = True,
    y_self: Tensor | None = None,
    tol: float = 1e-3,
    max_iter: int = MAX_ITER,
    backend: str = "auto",
    return_info: bool = False,
) -> Tensor | tuple[Tensor, SinkhornInfo]:
    r"""Entropic OT between clouds of weighted points, debiased, any number of problems at once.

    .. math::
        S(x, y) = \mathrm{OT}_\varepsilon(x, y) - \tfrac12 \mathrm{OT}_\varepsilon(x, x)
        - \tfrac12 \mathrm{OT}_\varepsilon(y, y), \quad
        \mathrm{OT}_\varepsilon = \min_{P \in \Pi(a, b)} \sum_{ij} P_{ij} \tfrac12 \|x_i - y_j\|^2
        + \varepsilon \, \mathrm{KL}(P \,\|\, a b^\top), \quad \varepsilon = \text{blur}^2

    This is what ``geomloss.SamplesLoss("sinkhorn", p=2, blur=blur, reach=reach)`` means at convergence (Feydy et al.,
    AISTATS 2019; Séjourné et al., 2019). Use it to compare distributions of points whose pairing is unknown; where the
    pairs are known and trusted, a mean squared error is cheaper and uses more.

    The gradient flows into both clouds and both weights. It is the envelope gradient, exact at convergence and of
    first order only: differentiating it again raises ``RuntimeError``. Half precision is never computed in, also under
    autocast, and comes back as float32; float64 stays float64. Memory grows with N times M, at one matrix of single
    precision for large clouds, and with N times k between the forward and the backward pass.

    Args:
        x: ``(*, N, k)`` points.
        y: ``(*, M, k)`` points, with the same leading dimensions.
        blur: scale below which points are not told apart, in the units of the coordinates.
        a: ``(*, N)`` or ``(N,)`` weights of ``x``, summing to 1; uniform if None.
        b: ``(*, M)`` or ``(M,)`` weights of ``y``, summing to 1; uniform if None.
        x_mask: ``(*, N)`` or ``(N,)`` bool, True for points that are there: clouds of different sizes, padded. What
            stands in the others does not matter, and they get no gradient; the weights of those that are there are
            scaled to sum to 1.
        y_mask: the same of ``y``.
        reach: distance over which it pays to move mass rather than to destroy it here and to make it there, at a price
            of :math:`\rho \, \mathrm{KL}` with :math:`\rho = \text{reach}^2`, in the units of the coordinates; None
            moves all mass. With a reach the weights may have any total.
        debias: subtract the two self terms, so that equal clouds are at distance 0.
        y_self: ``(*)``, :math:`\mathrm{OT}_\varepsilon(y, y)` from :func:`self_transport`, which is then not computed:
            for a ``y`` that comes again. Where only the gradient in ``x`` matters, any number will do.
        tol: L1 distance between the plan's marginals and the weights at which a problem counts as solved.
        max_iter: iterations per problem, after a short annealing.
        backend: ``torch``, on any device; ``native``, C on CPU, where it was built; ``triton``, on CUDA; ``auto`` picks
            the fastest.
        return_info: also return a :class:`SinkhornInfo`.

    Returns:
        ``(*)`` divergences, in squared units of the coordinates; with ``return_info``, a pair with the info.

    Raises:
        ValueError: shapes do not fit, values are not finite, weights are negative or do not sum to 1, a cloud has no
            point, or a setting is out of range.

    Warns:
        RuntimeWarning: a problem was stopped by ``max_iter``, or by rounding, before ``tol``.
    """
    terms = 1 if not debias else 3 if y_self is None else 2
    goal = _goal(blur, reach, tol, max_iter, terms, backend)
    if y_self is not None and (not debias or y.requires_grad or (b is not None and b.requires_grad)):
        raise ValueError(
            "y_self stands for a self term of constant points: expected debias=True, and no gradient in y."
        )
    with torch.autocast(x.device.type, enabled=False):
        leading, clouds = x.shape[:-2], _clouds(x, y, a, b, x_mask, y_mask, balanced=reach is None)
        value, error, iterations = solve_divergence(clouds, goal, backend)
        value = value if len(leading) == 1 else value.reshape(leading)
        if y_self is not None:
            value = value - y_self.detach().to(value.dtype) / 2
    if not return_info:
        return value
    error, iterations = error.reshape(leading), iterations.reshape(leading)
    return value, SinkhornInfo(error, iterations, error <= tol)


def self_transport(
    y: Tensor,
    *,
    blur: float = 0.1,
    b: Tensor | None = None,
    y_mask: Tensor | None = None,
    reach: float | None = None,
    tol: float = 1e-3,
    max_iter: int = MAX_ITER,
) -> Tensor:
    """``OT(y, y)``, the part of :func:`sinkhorn_divergence` that stays the same as long as ``y`` does. No gradient.

    Args:
        y: ``(*, M, k)`` points.
        blur: as in :func:`sinkhorn_divergence`, and so the following.
        b: weights.
        y_mask: which points are there.
        reach: distance over which mass is moved.
        tol: L1 marginal error.
        max_iter: iterations per problem.

    Returns:
        ``(*)``, in squared units of the coordinates.

    Raises:
        ValueError: as :func:`sinkhorn_divergence`.
    """
    goal = _goal(blur, reach, tol, max_iter, 1, "auto")
    with torch.no_grad(), torch.autocast(y.device.type, enabled=False):
        clouds = _clouds(y, y, b, b, y_mask, y_mask, balanced=reach is None)
        return solve_divergence(clouds, goal, "auto")[0].reshape(y.shape[:-2])


def transport_plan(
    x: Tensor,
    y: Tensor,
    *,
    blur: float = 0.1,
    a: Tensor | None = None,
    b: Tensor | None = None,
    tol: float = 1e-3,
    max_iter: int = MAX_ITER,
) -> Tensor:
    """The plan of :func:`sinkhorn_divergence`'s cross term: how much of point i goes to point j. No gradient.

    Args:
        x: ``(*, N, k)`` points.
        y: ``(*, M, k)`` points.
        blur: as in :func:`sinkhorn_divergence`.
        a: as in :func:`sinkhorn_divergence`.
        b: as in :func:`sinkhorn_divergence`.
        tol: as in :func:`sinkhorn_divergence`.
        max_iter: as in :func:`sinkhorn_divergence`.

    Returns:
        ``(*, N, M)`` masses; columns sum to ``b``, rows to ``a`` within ``tol``.

    Raises:
        ValueError: as :func:`sinkhorn_divergence`.
    """
    goal = _goal(blur, None, tol, max_iter, 1, "auto")
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        clouds = _clouds(x, y, a, b, None, None, balanced=True)
        check_finite(*clouds[:2])
        leading, dtype = x.shape[:-2], clouds.x.dtype
        x, y, a, b = (finest(z) for z in clouds)
        cost = half_squared_distances(x - a.unsqueeze(-2) @ x, y - b.unsqueeze(-2) @ y)
        f, g = solve(cost, a, b, goal)[:2]
        exponents = (
            (f.unsqueeze(-1) + g.unsqueeze(-2) - cost) / goal.eps + a.log().unsqueeze(-1) + b.log().unsqueeze(-2)
        )
        masses = exponents.clamp_(min=SMALLEST_EXPONENT).exp_().to(dtype)
    return masses.reshape(*leading, *masses.shape[-2:])


def _goal(blur: float, reach: float | None, tol: float, max_iter: int, terms: int, backend: str) -> Goal:
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; expected one of {', '.join(BACKENDS)}.")
    for name, value in (("blur", blur), ("reach", reach), ("tol", tol), ("max_iter", max_iter)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; expected a finite number above 0.")
    return Goal(float(blur), math.inf if reach is None else float(reach), float(tol), int(max_iter), terms)


def _clouds(
    x: Tensor,
    y: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    x_mask: Tensor | None,
    y_mask: Tensor | None,
    *,
    balanced: bool,
) -> Clouds:
    """Check the shapes and flatten them to ``(P, N, k), (P, M, k), (P, N), (P, M)``, in float32 at least."""
    fits = x.dim() >= 2 and y.dim() >= 2 and x.shape[:-2] == y.shape[:-2] and x.shape[-1] == y.shape[-1]
    if not fits or 0 in x.shape or 0 in y.shape:
        raise ValueError(
            f"clouds have shapes {tuple(x.shape)} and {tuple(y.shape)}; expected (*, N, k) and (*, M, k) with the same "
            "leading dimensions, none of them empty."
        )
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    points, weights = [], []
    for name, z, weight, mask in (("x", x, a, x_mask), ("y", y, b, y_mask)):
        z = z.to(dtype)
        if mask is not None:
            mask = _mask(name, mask, z)
            z = z.masked_fill(~mask.unsqueeze(-1), 0.0)
        points.append(_batched(z, 2))
        weights.append(_batched(_weights("a" if name == "x" else "b", weight, z, mask, balanced=balanced), 1))
    return Clouds(*points, *weights)


def _batched(z: Tensor, dims: int) -> Tensor:
    """One leading dimension. A reshape to the same shape would be recorded, and cost a small problem some percent."""
    return z if z.dim() == dims + 1 else z.reshape(-1, *z.shape[-dims:])


def _mask(name: str, mask: Tensor, points: Tensor) -> Tensor:
    if mask.dtype != torch.bool or mask.shape not in (points.shape[:-1], points.shape[-2:-1]):
        raise ValueError(
            f"{name}_mask is {mask.dtype} of shape {tuple(mask.shape)}; expected bool of shape "
            f"{tuple(points.shape[:-1])}, True for points that are there."
        )
    if not torch.compiler.is_compiling() and not bool(mask.any(-1).all()):
        raise ValueError(f"{name}_mask leaves a cloud without a point; expected at least one in each.")
    return mask.expand(points.shape[:-1])


def _weights(name: str, weight: Tensor | None, points: Tensor, mask: Tensor | None, *, balanced: bool) -> Tensor:
    if weight is None:
        if mask is None:
            return points.new_full(points.shape[:-1], 1.0 / points.shape[-2])
        return mask.to(points.dtype) / mask.sum(-1, keepdim=True)
    if weight.shape not in (points.shape[:-1], points.shape[-2:-1]):
        raise ValueError(
            f"weights {name} have shape {tuple(weight.shape)}; expected {tuple(points.shape[:-1])}, one a point."
        )
    weight = weight.to(points.dtype).expand(points.shape[:-1])
    if mask is not None:
        weight = weight * mask
    total = weight.sum(-1, keepdim=True)
    if not torch.compiler.is_compiling():  # a look at the values would break the graph
        _check_weights(name, weight.detach(), total.detach(), scaled=not balanced or mask is not None)
    return weight / total if balanced or mask is not None else weight


def _check_weights(name: str, weight: Tensor, total: Tensor, *, scaled: bool) -> None:
    if not bool((weight >= 0).all() & weight.isfinite().all()):
        raise ValueError(f"weights {name} are negative or not finite; expected a histogram for each cloud.")
    if not scaled and not bool(((total - 1).abs() <= 1e-2).all()):
        raise ValueError(f"weights {name} do not sum to 1; expected a histogram for each cloud.")
    if not bool((total > 0).all()):
        raise ValueError(f"weights {name} leave a cloud without mass; expected a positive total for each.")
