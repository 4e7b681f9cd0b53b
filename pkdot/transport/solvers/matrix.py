r"""Problems whose cost matrices are in memory, and their soft minima."""

import torch
from torch import Tensor

from pkdot.transport.constants import LARGEST_KERNEL_COST, SMALLEST_EXPONENT


class MatrixProblems:
    r"""P problems in units of :math:`\varepsilon`: :class:`pkdot.transport.problem.Softmins` of cost matrices.

    Where all share one moderate cost matrix, the sums of a soft minimum are a matrix product with the kernel
    :math:`e^{-C}`; elsewhere they are a log-sum-exp, problem by problem.

    >>> uniform = torch.full((1, 2), 0.5)
    >>> MatrixProblems(torch.zeros(1, 2, 2), uniform, uniform).over_columns(torch.ones(1, 2))
    tensor([[-1., -1.]])

    Args:
        cost: ``(P, N, M)``, or ``(1, N, M)`` where all problems share it.
        a: ``(P, N)`` weights; ``b``: ``(P, M)`` weights.
    """

    moved = False

    def __init__(self, cost: Tensor, a: Tensor, b: Tensor) -> None:
        self.cost, self.a, self.b, self._log_a, self._log_b = cost, a, b, a.log(), b.log()
        shared = cost.shape[0] == 1 < a.shape[0] and cost.dtype == torch.float64
        self._kernel = (-cost[0]).exp() if shared and float(cost.max()) <= LARGEST_KERNEL_COST else None

    def over_columns(self, g: Tensor) -> Tensor:
        """``(P, M)`` potential g to f ``(P, N)``."""
        exponent = g + self._log_b
        return _softmin(self.cost, exponent) if self._kernel is None else _product(self._kernel, exponent)

    def over_rows(self, f: Tensor) -> Tensor:
        """``(P, N)`` potential f to g ``(P, M)``."""
        exponent = f + self._log_a
        return _softmin(self.cost.mT, exponent) if self._kernel is None else _product(self._kernel.mT, exponent)

    def keep(self, problems: Tensor) -> None:
        """Keep only these problems."""
        self.a, self.b, self._log_a, self._log_b = (z[problems] for z in (self.a, self.b, self._log_a, self._log_b))
        self.cost = self.cost if self.cost.shape[0] == 1 else self.cost[problems]


def _product(kernel: Tensor, exponent: Tensor) -> Tensor:
    largest = exponent.amax(-1, keepdim=True)
    return -(((exponent - largest).exp() @ kernel.mT).log() + largest)


def _softmin(cost: Tensor, exponent: Tensor) -> Tensor:
    exponents = exponent.unsqueeze(-2) - cost
    largest = exponents.amax(-1, keepdim=True)
    return -(exponents.sub_(largest).clamp_(min=SMALLEST_EXPONENT).exp_().sum(-1).log() + largest.squeeze(-1))
