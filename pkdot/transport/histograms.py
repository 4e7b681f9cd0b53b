"""The Sinkhorn divergence between histograms on one support."""

import torch
from torch import Tensor

from pkdot.transport.operator import solve_histograms
from pkdot.transport.problem import checked_goal
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

    As :func:`pkdot.transport.divergence.sinkhorn_divergence`, but the points stay where they are and the weights move.
    The gradient is in the weights, :math:`\partial a = f - f^{aa}`, has mean 0 and is of first order only.

    >>> cost = torch.tensor([[[0.0, 2.0], [2.0, 0.0]]])
    >>> a, b = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.4, 0.6]])
    >>> histogram_divergence(a, b, cost)  # half the mass moves, at cost 2
    tensor([0.9956])

    Args:
        a: ``(P, k)`` histograms, each with sum 1; zeros are allowed.
        b: ``(P, k)`` histograms, each with sum 1; zeros are allowed.
        cost: ``(P, k, k)`` symmetric costs between the points of the support, zero on the diagonal; ``(1, k, k)`` if
            all pairs share them, which is much faster. No gradient.
        blur: the strength of the entropy is blur squared, in the units of the cost.
        debias: subtract the self terms, so that equal histograms have distance 0.
        tol: L1 marginal error at which a problem counts as solved.
        max_iter: largest number of iterations per problem.

    Returns:
        ``(P,)`` divergences, in the units of the cost.

    Raises:
        ValueError: a setting is out of range.
        RuntimeError: the gradient is differentiated again.

    Warns:
        RuntimeWarning: a problem was stopped before ``tol``.
    """
    with torch.autocast(a.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
        goal = checked_goal(blur, None, tol, max_iter)
        a, b, cost = (finest(z) for z in (a, b, cost.detach()))
        a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
        divergence = solve_histograms(cost, a, b, goal)
        if debias:
            for own in (a, b):
                divergence = divergence - solve_histograms(cost, own, own.clone(), goal, symmetric=True) / 2
    return divergence.to(dtype)
