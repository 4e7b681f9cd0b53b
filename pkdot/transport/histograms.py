"""The Sinkhorn divergence between histograms on one support."""

import math

import torch
from torch import Tensor

from pkdot.transport.operator import solve_histograms
from pkdot.transport.problem import Goal
from pkdot.transport.torch_backend import finest

MAX_ITER = 1000


def histogram_divergence(
    a: Tensor,
    b: Tensor,
    cost: Tensor,
    *,
    blur: float = 0.1,
    debias: bool = True,
    tol: float = 1e-3,
    max_iter: int = MAX_ITER,
) -> Tensor:
    r"""Sinkhorn divergence between pairs of histograms on one support.

    As :func:`pkdot.transport.divergence.sinkhorn_divergence`, with points that stay where they are and weights that
    move. The gradient is in the weights, :math:`\partial a = f - f^{aa}`, and lies in the plane of histograms.

    Args:
        a: ``(P, k)`` histograms, each summing to 1; zeros are allowed.
        b: ``(P, k)`` histograms, each summing to 1; zeros are allowed.
        cost: ``(P, k, k)`` symmetric costs between the points of the support, zero on the diagonal; ``(1, k, k)``
            where all pairs share them, which is much faster. No gradient.
        blur: the entropy is blur squared, in the units of the cost.
        debias: as in :func:`pkdot.transport.divergence.sinkhorn_divergence`.
        tol: as in :func:`pkdot.transport.divergence.sinkhorn_divergence`.
        max_iter: as in :func:`pkdot.transport.divergence.sinkhorn_divergence`.

    Returns:
        ``(P,)`` divergences, in the units of the cost.

    Warns:
        RuntimeWarning: as :func:`pkdot.transport.divergence.sinkhorn_divergence`.
    """
    with torch.autocast(a.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
        goal = Goal(blur, math.inf, tol, max_iter)
        a, b, cost = (finest(z) for z in (a, b, cost.detach()))
        a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
        divergence = solve_histograms(cost, a, b, goal)
        if debias:
            for own in (a, b):
                divergence = divergence - solve_histograms(cost, own, own.clone(), goal, symmetric=True) / 2
    return divergence.to(dtype)
