"""Anderson acceleration of a fixed-point iteration, for a batch of independent problems."""

import torch
from torch import Tensor

# In units of eps: logarithms of scalings.
_LONGEST_CORRECTION = 30.0


class Anderson:
    r"""Extrapolates :math:`g \leftarrow g + r(g)` from the last few points of each problem.

    With the differences :math:`\Delta G, \Delta R` of the last points and residuals, the next point is
    :math:`g + r - (\Delta G + \Delta R) \gamma`, where :math:`\gamma` minimises
    :math:`\| r - \Delta R \gamma \|_w` (Walker and Ni, 2011, type II; ridge-regularised).

    Args:
        start: ``(P, M)``, the first points.
        memory: differences kept.
    """

    def __init__(self, start: Tensor, memory: int) -> None:
        self._moves = start.new_zeros(start.shape[0], memory, start.shape[1])
        self._changes = torch.zeros_like(self._moves)
        self._point = self._residual = start
        self._slot = 0
        self._ridge = 1e3 * torch.finfo(start.dtype).eps ** 1.25

    def advance(self, point: Tensor, residual: Tensor, weight: Tensor, follows: Tensor) -> Tensor:
        """The next points.

        Args:
            point: ``(P, M)``.
            residual: ``(P, M)``, the plain step from ``point``.
            weight: ``(P, M)``, how much a coordinate of the residual counts.
            follows: ``(P,)`` bool; False where ``point`` does not continue the last one of the same iteration: that
                problem forgets its past, and its step is the plain one.
        """
        self._moves[:, self._slot] = point - self._point
        self._changes[:, self._slot] = residual - self._residual
        self._moves *= follows[:, None, None]
        self._changes *= follows[:, None, None]
        self._point, self._residual = point, residual
        self._slot = (self._slot + 1) % self._moves.shape[1]

        weighted = self._changes * weight.unsqueeze(-2)
        gram = weighted @ self._changes.mT
        scale = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
        ridge = self._ridge * scale + torch.finfo(gram.dtype).tiny
        gram = gram + torch.diag_embed(ridge.unsqueeze(-1).expand(-1, gram.shape[-1]))
        coefficients = torch.linalg.solve_ex(gram, weighted @ residual.unsqueeze(-1))[0]
        correction = ((self._moves + self._changes).mT @ coefficients).squeeze(-1)
        # Where the correction is long, or not a number, the model of the last points does not hold.
        trusted = correction.abs().amax(-1, keepdim=True) <= _LONGEST_CORRECTION
        return point + residual - torch.where(trusted, correction, 0.0)

    def keep(self, problems: Tensor) -> None:
        """Go on with these problems only."""
        self._moves, self._changes = self._moves[problems], self._changes[problems]
        self._point, self._residual = self._point[problems], self._residual[problems]
