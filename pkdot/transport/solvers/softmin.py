r"""The soft minimum over rows or columns of a cost matrix: one half of a Sinkhorn sweep."""

from torch import Tensor

# torch's exp on CPU is a hundred times slower where it underflows, and e^-80 is nothing beside the largest term, 1.
SMALLEST_EXPONENT = -80.0
# exp(-cost) and exp(potential), whose range is twice the cost's, must stay representable in float64.
_LARGEST_KERNEL_COST = 220.0


class Softmin:
    r"""Soft minima over P cost matrices, in units of :math:`\varepsilon`.

    .. math:: \mathrm{softmin}(h)_i = -\log \sum_j w_j \, e^{h_j - C_{ij}}

    Where all problems share one moderate cost matrix the sum is a matrix product with the kernel
    :math:`e^{-C}`, in float64; elsewhere it is a log-sum-exp, problem by problem, in the cost's dtype.

    Args:
        cost: ``(P, N, M)``, or ``(1, N, M)`` where all problems share it.
        problems: P.
    """

    def __init__(self, cost: Tensor, problems: int) -> None:
        shared = cost.shape[0] == 1 < problems and cost.device.type != "mps"
        self._as_kernel = shared and float(cost.max()) <= _LARGEST_KERNEL_COST
        self._matrix = (-cost.double()).exp() if self._as_kernel else cost
        self.dtype = self._matrix.dtype

    def over_columns(self, h: Tensor, log_weight: Tensor) -> Tensor:
        """``(P, M)`` potential and log-weights to a ``(P, N)`` potential."""
        return self._reduce(self._matrix, h + log_weight)

    def over_rows(self, h: Tensor, log_weight: Tensor) -> Tensor:
        """``(P, N)`` potential and log-weights to a ``(P, M)`` potential."""
        return self._reduce(self._matrix.mT, h + log_weight)

    def keep(self, problems: Tensor) -> None:
        """Go on with these problems only."""
        if self._matrix.shape[0] > 1:
            self._matrix = self._matrix[problems]

    def _reduce(self, matrix: Tensor, exponent: Tensor) -> Tensor:
        if self._as_kernel:
            largest = exponent.amax(-1, keepdim=True)
            return -(((exponent - largest).exp() @ matrix[0].mT).log() + largest)
        exponents = exponent.unsqueeze(-2) - matrix
        largest = exponents.amax(-1, keepdim=True)
        total = exponents.sub_(largest).clamp_(min=SMALLEST_EXPONENT).exp_().sum(-1)
        return -(total.log() + largest.squeeze(-1))
