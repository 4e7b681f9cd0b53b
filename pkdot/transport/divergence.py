"""The Sinkhorn divergence between clouds of points, and between histograms on one support."""

import warnings
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from pkdot.transport.entropic import EntropicOT, entropic_ot, entropic_self_ot, plan
from pkdot.transport.problem import Settings
from pkdot.transport.sinkhorn import solve

BACKENDS = ("auto", "torch")
MAX_ITER = 1000


@dataclass(frozen=True)
class SinkhornInfo:
    """How well each problem was solved; of a debiased divergence, the worst of its three problems.

    Attributes:
        marginal_error: ``(*)``, L1 distance between the plan's marginals and the weights.
        iterations: ``(*)`` int64, Newton steps, or sweeps over large clouds, at the final temperature.
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
    debias: bool = ...,
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
    debias: bool = ...,
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
    debias: bool = True,
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

    This is what ``geomloss.SamplesLoss("sinkhorn", p=2, blur=blur)`` means at convergence (Feydy et al., AISTATS
    2019). Use it to compare distributions of points whose pairing is unknown; where the pairs are known and trusted,
    a mean squared error is cheaper and uses more.

    The gradient flows into both clouds and both weights. It is the envelope gradient, exact at convergence and of
    first order only: differentiating it again raises ``RuntimeError``. Half precision is never computed in, also under
    autocast, and comes back as float32; float64 stays float64.

    Args:
        x: ``(*, N, k)`` points.
        y: ``(*, M, k)`` points, with the same leading dimensions.
        blur: scale below which points are not told apart, in the units of the coordinates.
        a: ``(*, N)`` or ``(N,)`` weights of ``x``, summing to 1; uniform if None.
        b: ``(*, M)`` or ``(M,)`` weights of ``y``, summing to 1; uniform if None.
        debias: subtract the two self terms, so that equal clouds are at distance 0.
        tol: L1 distance between the plan's marginals and the weights at which a problem counts as solved.
        max_iter: iterations per problem, after a short annealing.
        backend: ``torch``; ``auto`` picks the fastest that is there.
        return_info: also return a :class:`SinkhornInfo`.

    Returns:
        ``(*)`` divergences, in squared units of the coordinates; with ``return_info``, a pair with the info.

    Raises:
        ValueError: shapes do not fit, values are not finite, weights are negative or do not sum to 1, or a setting is
            out of range.

    Warns:
        RuntimeWarning: a problem was stopped by ``max_iter``, or by rounding, before ``tol``.
    """
    with torch.autocast(x.device.type, enabled=False):
        leading, dtype = x.shape[:-2], _at_least_single(x, y)
        settings = _settings(blur, tol, max_iter, backend, dtype)
        x, y, a, b = _problems(x, y, a, b)
        centre_x, centre_y = a.unsqueeze(-2) @ x, b.unsqueeze(-2) @ y
        x, y = x - centre_x, y - centre_y
        # The squared cost splits into that of the centred clouds and that of the way between their centres.
        between_centres = (centre_x - centre_y).square().sum((-2, -1)) / 2
        terms = [entropic_ot(_half_squared_distances(x, y), a, b, settings)]
        if debias:
            terms += [entropic_self_ot(_half_squared_distances(z, z), w, settings) for z, w in ((x, a), (y, b))]
        divergence = (_debiased(terms) + between_centres).to(dtype)
    info = _info(terms, tol, leading)
    _warn_unless_converged(info)
    return (divergence.reshape(leading), info) if return_info else divergence.reshape(leading)


def histogram_divergence(
    a: Tensor,
    b: Tensor,
    cost: Tensor,
    *,
    blur: float = 0.1,
    debias: bool = True,
    tol: float = 1e-3,
    max_iter: int = MAX_ITER,
    backend: str = "auto",
) -> Tensor:
    r"""Sinkhorn divergence between pairs of histograms on one support.

    As :func:`sinkhorn_divergence`, with points that stay where they are and weights that move. The gradient is in
    the weights, :math:`\partial a = f - f^{aa}`, and lies in the plane of histograms.

    Args:
        a: ``(P, k)`` histograms, each summing to 1; zeros are allowed.
        b: ``(P, k)`` histograms, each summing to 1; zeros are allowed.
        cost: ``(P, k, k)`` symmetric costs between the points of the support, zero on the diagonal; ``(1, k, k)``
            where all pairs share them, which is much faster. No gradient.
        blur: the entropy is blur squared, in the units of the cost.
        debias: as in :func:`sinkhorn_divergence`.
        tol: as in :func:`sinkhorn_divergence`.
        max_iter: as in :func:`sinkhorn_divergence`.
        backend: as in :func:`sinkhorn_divergence`.

    Returns:
        ``(P,)`` divergences, in the units of the cost.

    Raises:
        ValueError: a setting is out of range.

    Warns:
        RuntimeWarning: as :func:`sinkhorn_divergence`.
    """
    with torch.autocast(a.device.type, enabled=False):
        dtype = _at_least_single(a, b)
        settings = _settings(blur, tol, max_iter, backend, dtype)
        a, b, cost = (_finest(z) for z in (a, b, cost.detach()))
        a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
        terms = [entropic_ot(cost, a, b, settings._replace(common_support=True))]
        if debias:
            terms += [entropic_self_ot(cost, a, settings), entropic_self_ot(cost, b, settings)]
        divergence = _debiased(terms).to(dtype)
    _warn_unless_converged(_info(terms, tol, a.shape[:-1]))
    return divergence


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
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        leading, dtype = x.shape[:-2], _at_least_single(x, y)
        settings = _settings(blur, tol, max_iter, "auto", dtype)
        x, y, a, b = _problems(x, y, a, b)
        cost = _half_squared_distances(x - a.unsqueeze(-2) @ x, y - b.unsqueeze(-2) @ y)
        potentials = solve(cost, a, b, settings)
        masses = plan(cost, a, b, potentials.f, potentials.g, settings.eps).to(dtype)
    return masses.reshape(*leading, *masses.shape[-2:])


def _half_squared_distances(x: Tensor, y: Tensor) -> Tensor:
    squares_x, squares_y = x.square().sum(-1) / 2, y.square().sum(-1) / 2
    return (squares_x.unsqueeze(-1) + squares_y.unsqueeze(-2) - x @ y.mT).clamp(min=0.0)


def _debiased(terms: list[EntropicOT]) -> Tensor:
    cross, *own = (term.value for term in terms)
    return cross - sum(own) / 2 if own else cross


def _info(terms: list[EntropicOT], tol: float, shape: torch.Size) -> SinkhornInfo:
    error = torch.stack([term.marginal_error for term in terms]).amax(0).reshape(shape)
    iterations = torch.stack([term.iterations for term in terms]).amax(0).reshape(shape)
    return SinkhornInfo(error, iterations, error <= tol)


def _warn_unless_converged(info: SinkhornInfo) -> None:
    if not bool(info.converged.all()):
        warnings.warn(
            "Sinkhorn stopped before its tolerance: the value and the gradient are approximate. Raise blur, tol or "
            "max_iter, or pass float64; return_info=True says which problems and by how much.",
            RuntimeWarning,
            stacklevel=3,
        )


def _settings(
    blur: float, tol: float, max_iter: int, backend: str, dtype: torch.dtype, margin: float = 1.0
) -> Settings:
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; expected one of {', '.join(BACKENDS)}.")
    for name, value in (("blur", blur), ("tol", tol), ("max_iter", max_iter)):
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value}; expected a finite number above 0.")
    return Settings(eps=blur**2, tol=tol, max_iter=int(max_iter), dtype=dtype)


def _problems(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Check the clouds and flatten them to ``(P, N, k), (P, M, k), (P, N), (P, M)``, in float64."""
    fits = x.dim() >= 2 and y.dim() >= 2 and x.shape[:-2] == y.shape[:-2] and x.shape[-1] == y.shape[-1]
    if not fits or 0 in x.shape or 0 in y.shape:
        raise ValueError(
            f"clouds have shapes {tuple(x.shape)} and {tuple(y.shape)}; expected (*, N, k) and (*, M, k) with the same "
            "leading dimensions, none of them empty."
        )
    clouds = [_finest(x), _finest(y)]
    weights = [_weights(name, w, z) for name, w, z in zip("ab", (a, b), clouds, strict=True)]
    for name, z in zip("xy", clouds, strict=True):
        if not bool(z.detach().square().sum(-1).isfinite().all()):
            raise ValueError(f"{name} holds NaN, infinity or values whose squares overflow; expected finite points.")
    x, y = (z.reshape(-1, *z.shape[-2:]) for z in clouds)
    a, b = (w.reshape(-1, w.shape[-1]) for w in weights)
    return x, y, a, b


def _weights(name: str, weight: Tensor | None, points: Tensor) -> Tensor:
    if weight is None:
        return points.new_full(points.shape[:-1], 1.0 / points.shape[-2])
    if weight.shape not in (points.shape[:-1], points.shape[-2:-1]):
        raise ValueError(
            f"weights {name} have shape {tuple(weight.shape)}; expected {tuple(points.shape[:-1])}, one a point."
        )
    weight = weight.to(points.dtype)
    total = weight.sum(-1, keepdim=True)
    if not bool((weight.detach() >= 0).all()) or not bool(((total.detach() - 1).abs() <= 1e-2).all()):
        raise ValueError(f"weights {name} are negative or do not sum to 1; expected a histogram for each cloud.")
    return (weight / total).expand(points.shape[:-1])


def _at_least_single(x: Tensor, y: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)


def _finest(z: Tensor) -> Tensor:
    # A cost is divided by eps, small, before it is exponentiated: float32 would round away what tells plans apart.
    return z.float() if z.device.type == "mps" else z.double()
