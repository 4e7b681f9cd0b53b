"""What the solvers share: problems, goals, solutions, and the bookkeeping of problems that finish one by one."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_LARGEST_EXPONENT = 80.0


class Clouds(NamedTuple):
    """P pairs of weighted clouds: points ``(P, N, k)`` and ``(P, M, k)``, weights ``(P, N)`` and ``(P, M)``."""

    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor


class Goal(NamedTuple):
    """What is to be computed, and how exactly.

    Attributes:
        blur: the entropy is its square.
        reach: distance over which mass is moved rather than made and destroyed; infinite: all mass is moved.
        tol: L1 marginal error.
        max_iter: iterations at the final temperature, after which an unfinished problem returns its best point.
        terms: 1 is OT(x, y); 2 subtracts OT(x, x) / 2, and 3 also OT(y, y) / 2.
    """

    blur: float
    reach: float
    tol: float
    max_iter: int
    terms: int


class Solution(NamedTuple):
    """Divergences of P problems.

    Attributes:
        value: ``(P,)``.
        marginal_error: ``(P,)``, of the worst term.
        iterations: ``(P,)`` int64, of the longest term.
        gradients: with respect to x, y, a and b, empty where they were not wanted; in the weights, up to a constant
            where all mass is moved.
    """

    value: Tensor
    marginal_error: Tensor
    iterations: Tensor
    gradients: Sequence[Tensor]


Backend = Callable[[Clouds, Goal, Sequence[bool]], Solution]
"""Solves problems between clouds; the flags say which gradients are wanted, of x, y, a and b."""


class Settings(NamedTuple):
    """How exactly the problems of one cost matrix are solved.

    Attributes:
        eps: strength of the entropy, in the units of the cost.
        tol: L1 marginal error.
        max_iter: iterations at ``eps`` after which an unfinished problem returns its best point.
        dtype: of the sweeps over large problems; small ones, and those for whose ``tol`` it is too coarse, are solved
            in the dtype of their cost.
        common_support: a and b are histograms on the same points, between which the cost is symmetric.
        rho: price of making or destroying mass, in the units of the cost; infinite: all mass is moved.
    """

    eps: float
    tol: float
    max_iter: int
    dtype: torch.dtype
    common_support: bool = False
    rho: float = math.inf

    @property
    def damping(self) -> float:
        """Factor on every soft minimum, below 1 where mass may be made and destroyed."""
        return 1.0 / (1.0 + self.eps / self.rho)


class Potentials(NamedTuple):
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


class Coupling(NamedTuple):
    """Solution of P problems between clouds.

    Attributes:
        f: ``(P, N)`` in the units of the cost.
        g: ``(P, M)`` in the units of the cost.
        marginal_error: ``(P,)``.
        iterations: ``(P,)`` int64.
        targets_of_x: ``(P, N, k)``, the mean of where the plan takes each point of x; empty where it was not wanted.
        targets_of_y: ``(P, M, k)``, the same of y.
    """

    f: Tensor
    g: Tensor
    marginal_error: Tensor
    iterations: Tensor
    targets_of_x: Tensor
    targets_of_y: Tensor


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
