"""What the solvers share: settings, solutions, and the bookkeeping of problems that finish one by one."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

_LARGEST_EXPONENT = 80.0


class Settings(NamedTuple):
    """How exactly a problem is solved.

    Attributes:
        eps: strength of the entropy, in the units of the cost.
        tol: L1 marginal error.
        max_iter: iterations at ``eps`` after which an unfinished problem returns its best point.
        dtype: of the sweeps over large problems; small ones, and those for whose ``tol`` it is too coarse, are solved
            in the dtype of their cost.
        common_support: a and b are histograms on the same points, between which the cost is symmetric.
    """

    eps: float
    tol: float
    max_iter: int
    dtype: torch.dtype
    common_support: bool = False


@dataclass(frozen=True)
class Potentials:
    """Solution of P problems.

    Attributes:
        f: ``(P, N)`` in the units of the cost.
        g: ``(P, M)`` in the units of the cost. The plan's columns sum to ``b``.
        marginal_error: ``(P,)``, bound on the L1 distance between the plan's row sums and ``a``.
        iterations: ``(P,)`` int64.
    """

    f: Tensor
    g: Tensor
    marginal_error: Tensor
    iterations: Tensor


class Solved:
    """Where problems go when they leave the batch: they move no further and cost nothing more."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self._f, self._g = torch.zeros_like(a), torch.zeros_like(b)
        self._error = a.new_zeros(a.shape[0])
        self._iterations = torch.zeros(a.shape[0], dtype=torch.int64, device=a.device)
        self._problems = torch.arange(a.shape[0], device=a.device)

    def store(self, f: Tensor, g: Tensor, error: Tensor, finished: Tensor, iterations: int) -> Tensor:
        """Store the finished problems, in units of eps; return the positions of the others."""
        done = self._problems[finished]
        self._f[done], self._g[done], self._error[done] = f[finished], g[finished], error[finished]
        self._iterations[done] = iterations
        keep = (~finished).nonzero().squeeze(-1)
        self._problems = self._problems[keep]
        return keep

    def potentials(self, eps: float) -> Potentials:
        """All solutions, in the units of the cost."""
        return Potentials(self._f * eps, self._g * eps, self._error, self._iterations)


def marginal_error(weight: Tensor, residual: Tensor) -> Tensor:
    """L1 distance of the plan's free marginal from ``weight``, which it misses by the factor ``exp(-residual)``."""
    return (weight * (-residual).clamp(max=_LARGEST_EXPONENT).expm1().abs()).sum(-1)


def centred(potential: Tensor, weight: Tensor) -> Tensor:
    """The potential with mean 0: f + c and g - c solve the same problem, and a drifting c takes the digits."""
    return potential - (weight * potential).sum(-1, keepdim=True)
