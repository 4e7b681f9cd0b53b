"""Anderson's extrapolation of a fixed-point iteration, for a batch of independent problems."""

import torch
from torch import Tensor

from pkdot.transport.constants import LONGEST_CORRECTION, MEMORY


class Anderson:
    r"""Extrapolates :math:`g \leftarrow g + r(g)` from the last few points of each problem.

    With the differences :math:`\Delta G, \Delta R` of the last points and residuals, the next point is
    :math:`g + r - (\Delta G + \Delta R) \gamma`, where :math:`\gamma` minimises
    :math:`\| r - \Delta R \gamma \|_w` (Walker and Ni, 2011, type II; ridge-regularised).

    Args:
        start: ``(P, M)``, the first points.
    """

    def __init__(self, start: Tensor) -> None:
        self._moves = start.new_zeros(start.shape[0], MEMORY, start.shape[1])
        self._changes = torch.zeros_like(self._moves)
        self._point = self._residual = start
        self._slot = 0
        # Differences become almost parallel near the solution: the ridge keeps the system solvable.
        self._ridge = 1e3 * torch.finfo(start.dtype).eps ** 1.25

    def advance(self, point: Tensor, residual: Tensor, weight: Tensor, follows: Tensor) -> Tensor:
        """The next points ``(P, M)`` after ``point``, from where ``residual`` is the plain step.

        ``weight`` ``(P, M)`` says how much a coordinate of the residual counts. Where ``follows`` ``(P,)`` is False the
        point does not continue the last one: that problem forgets its past, and takes the plain step.
        """
        self._moves[:, self._slot] = point - self._point
        self._changes[:, self._slot] = residual - self._residual
        self._moves *= follows[:, None, None]
        self._changes *= follows[:, None, None]
        self._point, self._residual = point, residual
        self._slot = (self._slot + 1) % MEMORY

        weighted = self._changes * weight.unsqueeze(-2)
        gram = weighted @ self._changes.mT
        scale = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
        ridge = self._ridge * scale + torch.finfo(gram.dtype).tiny
        gram = gram + torch.diag_embed(ridge.unsqueeze(-1).expand(-1, MEMORY))
        coefficients = torch.linalg.solve_ex(gram, weighted @ residual.unsqueeze(-1))[0]
        correction = ((self._moves + self._changes).mT @ coefficients).squeeze(-1)
        trusted = correction.abs().amax(-1, keepdim=True) <= LONGEST_CORRECTION
        return point + residual - torch.where(trusted, correction, 0.0)

    def keep(self, problems: Tensor) -> None:
        """Keep only these problems."""
        self._moves, self._changes = self._moves[problems], self._changes[problems]
        self._point, self._residual = self._point[problems], self._residual[problems]
