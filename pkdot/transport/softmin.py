r"""The soft minimum over rows or columns of a cost matrix: one half of a Sinkhorn sweep."""

from torch import Tensor

# torch's exp on CPU is a hundred times slower where it underflows, and e^-80 is nothing beside the largest term, 1.
SMALLEST_EXPONENT = -80.0
# exp(-cost) and exp(potential), whose range is twice the cost's, must stay representable in float64.
_LARGEST_KERNEL_COST = 220.0


class Softmin:
    r"""Soft minima over P cost matrices, in units of :math:`\varepsilon`.

    .. math:: \mathrm{softmin}_t(h)_i = -t \log \sum_j w_j \, e^{(h_j - C_{ij}) / t}

    Where all problems share one moderate cost matrix the sum is a matrix product with the kernel
    :math:`e^{-C / t}`, in float64; elsewhere it is a log-sum-exp, problem by problem, in the cost's dtype.

    Args:
        cost: ``(P, N, M)``, or ``(1, N, M)`` where all problems share it.
        problems: P.
    """

    def __init__(self, cost: Tensor, problems: int) -> None:
        self.range = cost.amax((-2, -1)).expand(problems)
        shared = cost.shape[0] == 1 < problems and cost.device.type != "mps"
        self._as_kernel = shared and float(self.range[0]) <= _LARGEST_KERNEL_COST
        self._cost = cost.double() if self._as_kernel else cost
        self.dtype = self._cost.dtype

    def over_columns(self, h: Tensor, log_weight: Tensor, temperature: float = 1.0) -> Tensor:
        """``(P, M)`` potential and log-weights to a ``(P, N)`` potential."""
        return self._reduce(self._cost, h, log_weight, temperature)

    def over_rows(self, h: Tensor, log_weight: Tensor, temperature: float = 1.0) -> Tensor:
        """``(P, N)`` potential and log-weights to a ``(P, M)`` potential."""
        return self._reduce(self._cost.mT, h, log_weight, temperature)

    def keep(self, problems: Tensor) -> None:
        """Go on with these problems only."""
        self.range = self.range[problems]
        if self._cost.shape[0] > 1:
            self._cost = self._cost[problems]

    def _reduce(self, cost: Tensor, h: Tensor, log_weight: Tensor, t: float) -> Tensor:
        exponent = log_weight + h / t
        if self._as_kernel:
            largest = exponent.amax(-1, keepdim=True)
            kernel = (cost[0] / -t).exp()
            return -t * (((exponent - largest).exp() @ kernel.mT).log() + largest)
        exponents = exponent.unsqueeze(-2) - cost / t
        largest = exponents.amax(-1, keepdim=True)
        total = exponents.sub_(largest).clamp_(min=SMALLEST_EXPONENT).exp_().sum(-1)
        return -t * (total.log() + largest.squeeze(-1))
