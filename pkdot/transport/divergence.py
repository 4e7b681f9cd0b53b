"""The Sinkhorn divergence between clouds of points, its self term and its transport plan."""

from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from pkdot.transport.backends import BACKENDS
from pkdot.transport.constants import SMALLEST_EXPONENT
from pkdot.transport.operator import solve_divergence
from pkdot.transport.problem import Clouds, check_finite, checked_goal
from pkdot.transport.solvers.sinkhorn import solve
from pkdot.transport.torch_backend import finest, half_squared_distances

MAX_ITER = 1000


@dataclass(frozen=True)
class SinkhornInfo:
    """How well each problem was solved; for a debiased divergence, the worst of its three terms.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> sinkhorn_divergence(x, x, return_info=True)[1].converged
    tensor(True)

    Attributes:
        marginal_error: ``(*)``, L1 distance between the plan's marginals and the weights.
        iterations: ``(*)`` int64, Newton steps or sweeps at the final temperature; 0 at blur 0, where none are counted.
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
    r"""The Sinkhorn divergence between clouds of weighted points, for any number of problems at once.

    .. math::
        S(x, y) = \mathrm{OT}_\varepsilon(x, y) - \tfrac12 \mathrm{OT}_\varepsilon(x, x)
        - \tfrac12 \mathrm{OT}_\varepsilon(y, y), \quad
        \mathrm{OT}_\varepsilon = \min_{P \in \Pi(a, b)} \sum_{ij} P_{ij} \tfrac12 \|x_i - y_j\|^2
        + \varepsilon \, \mathrm{KL}(P \,\|\, a b^\top), \quad \varepsilon = \text{blur}^2

    This is what ``geomloss.SamplesLoss("sinkhorn", p=2, blur=blur, reach=reach)`` means at convergence (Feydy et al.,
    AISTATS 2019; Séjourné et al., 2019). Use it to compare distributions of points whose pairing is unknown. Where
    pairs are known and trusted, a mean squared error is cheaper and uses more of what is known.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> sinkhorn_divergence(x, x + 3.0)
    tensor(4.5000)
    >>> sinkhorn_divergence(x.expand(5, 2, 1), torch.zeros(5, 4, 1), blur=0.05).shape
    torch.Size([5])

    **Gradient.** It flows into both clouds and both weights. It is the envelope gradient: exact at convergence, and of
    first order only. Differentiating it again raises ``RuntimeError``.

    **Precision and memory.** Half precision is computed in float32 or better, also under autocast, and gives float32;
    float64 stays float64. The forward pass holds one matrix of N times M numbers for each large problem. Between the
    forward and the backward pass only arrays of N times k and M times k are kept.

    **Without entropy.** ``blur=0`` solves exact transport, :math:`\min_P \sum_{ij} P_{ij} \tfrac12 \|x_i - y_j\|^2`, by
    the network simplex of POT: on the CPU, problem by problem, with memory for the whole cost matrix and time that
    grows with about the cube of N. ``tol`` and ``max_iter`` do not matter, the self terms are 0, and the gradient
    points from each point to its barycentre. It jumps where the best plan changes: for training a blur is better and
    much faster.

    Args:
        x: ``(*, N, k)`` points.
        y: ``(*, M, k)`` points, with the same leading dimensions.
        blur: scale below which points are not told apart, in the units of the coordinates; 0: no entropy.
        a: ``(*, N)`` or ``(N,)`` weights of ``x``, which sum to 1; uniform if None.
        b: ``(*, M)`` or ``(M,)`` weights of ``y``, which sum to 1; uniform if None.
        x_mask: ``(*, N)`` or ``(N,)`` bool, True for points that count: for clouds of different sizes in one batch.
            The values of the other points do not matter, and they get no gradient. The weights of points that count
            are scaled to sum to 1.
        y_mask: the same of ``y``.
        reach: distance up to which it pays to move mass; beyond, mass is destroyed here and made there, at the price
            :math:`\rho \, \mathrm{KL}` with :math:`\rho = \text{reach}^2`. In the units of the coordinates; None
            moves all mass. With a reach the weights may have any sum.
        debias: subtract the two self terms, so that equal clouds have distance 0.
        y_self: ``(*)``, :math:`\mathrm{OT}_\varepsilon(y, y)` from :func:`self_transport`, which is then not computed
            again. If only the gradient in ``x`` matters, any number may be passed.
        tol: L1 distance between the plan's marginals and the weights at which a problem counts as solved.
        max_iter: largest number of iterations per problem, after a short annealing.
        backend: ``torch``, on any device; ``native``, C on the CPU, if it was built; ``triton``, on CUDA; ``pot``, the
            solvers of POT in float64 on the CPU, to check the others. ``auto`` picks the fastest of the first three; at
            blur 0, ``pot`` for points on the CPU.
        return_info: also return a :class:`SinkhornInfo`.

    Returns:
        ``(*)`` divergences, in squared units of the coordinates; with ``return_info``, a pair with the info.

    Raises:
        ValueError: shapes do not fit, values are not finite, weights are negative or do not sum to 1, a cloud has no
            point, a setting is out of range, or the backend cannot do this.

    Warns:
        RuntimeWarning: a problem was stopped by ``max_iter``, or by rounding, before ``tol``.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; expected one of {', '.join(BACKENDS)}.")
    # Without entropy the self terms are 0.
    terms = 1 if not debias or blur == 0 else 3 if y_self is None else 2
    goal = checked_goal(blur, reach, tol, max_iter, terms, exact=True)
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
    """``OT(y, y)``: the part of :func:`sinkhorn_divergence` that stays the same while ``y`` does. No gradient.

    >>> y = torch.tensor([[0.0], [1.0]])
    >>> own = self_transport(y)
    >>> sinkhorn_divergence(y + 3.0, y, y_self=own)
    tensor(4.5000)

    Args:
        y: ``(*, M, k)`` points.
        blur: as in :func:`sinkhorn_divergence`, like all that follow; above 0.
        b: weights.
        y_mask: which points count.
        reach: distance up to which mass is moved.
        tol: L1 marginal error.
        max_iter: largest number of iterations per problem.

    Returns:
        ``(*)``, in squared units of the coordinates.

    Raises:
        ValueError: as :func:`sinkhorn_divergence`.
    """
    goal = checked_goal(blur, reach, tol, max_iter)
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
    """The transport plan between x and y: how much mass goes from point i to point j. No gradient.

    It is the plan of the first term of :func:`sinkhorn_divergence`.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> transport_plan(x, x.flip(0)).round(decimals=3)
    tensor([[0.0000, 0.5000],
            [0.5000, 0.0000]])

    Args:
        x: ``(*, N, k)`` points.
        y: ``(*, M, k)`` points.
        blur: as in :func:`sinkhorn_divergence`, like all that follow; above 0.
        a: weights of ``x``.
        b: weights of ``y``.
        tol: L1 marginal error.
        max_iter: largest number of iterations per problem.

    Returns:
        ``(*, N, M)`` masses; columns sum to ``b``, rows to ``a`` within ``tol``.

    Raises:
        ValueError: as :func:`sinkhorn_divergence`.
    """
    goal = checked_goal(blur, None, tol, max_iter)
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
    """With one leading dimension. A reshape to the same shape would be recorded, and slow a small problem down."""
    return z if z.dim() == dims + 1 else z.reshape(-1, *z.shape[-dims:])


def _mask(name: str, mask: Tensor, points: Tensor) -> Tensor:
    if mask.dtype != torch.bool or mask.shape not in (points.shape[:-1], points.shape[-2:-1]):
        raise ValueError(
            f"{name}_mask is {mask.dtype} of shape {tuple(mask.shape)}; expected bool of shape "
            f"{tuple(points.shape[:-1])}, True for points that count."
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
            f"weights {name} have shape {tuple(weight.shape)}; expected {tuple(points.shape[:-1])}, one for each point."
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
