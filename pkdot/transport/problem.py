"""What is solved and how exactly, and where solutions go. The backends share these types."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Clouds(NamedTuple):
    """P pairs of weighted clouds: points ``(P, N, k)`` and ``(P, M, k)``, weights ``(P, N)`` and ``(P, M)``.

    >>> points, weights = torch.zeros(1, 4, 2), torch.full((1, 4), 0.25)
    >>> Clouds(points, points + 1, weights, weights).x.shape
    torch.Size([1, 4, 2])
    """

    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor


class Goal(NamedTuple):
    r"""What is computed, and how exactly.

    >>> Goal(blur=0.1, reach=math.inf, tol=1e-3, max_iter=100).damping
    1.0

    Attributes:
        blur: the strength of the entropy is :math:`\varepsilon = \text{blur}^2`; 0 is transport without entropy.
        reach: distance up to which mass is moved; beyond, it is destroyed here and made there at the price
            :math:`\rho = \text{reach}^2`. Infinite: all mass is moved (balanced transport).
        tol: L1 marginal error.
        max_iter: iterations at the final temperature, after which an unfinished problem returns its best point.
        terms: 1 is OT(x, y); 2 subtracts OT(x, x) / 2, and 3 also OT(y, y) / 2.
    """

    blur: float
    reach: float
    tol: float
    max_iter: int
    terms: int = 1

    @property
    def eps(self) -> float:
        """Strength of the entropy, in the units of the cost."""
        return self.blur**2

    @property
    def rho(self) -> float:
        """Price of making or destroying mass, in the units of the cost."""
        return self.reach**2

    @property
    def balanced(self) -> bool:
        """Whether all mass is moved."""
        return math.isinf(self.reach)

    @property
    def damping(self) -> float:
        """Factor on every soft minimum; below 1 where mass may be made and destroyed."""
        return 1.0 / (1.0 + self.eps / self.rho)


def checked_goal(
    blur: float, reach: float | None, tol: float, max_iter: int, terms: int = 1, *, exact: bool = False
) -> Goal:
    """The goal of a user's settings; with ``exact`` the blur may be 0.

    Raises:
        ValueError: a setting is out of range.
    """
    for name, value in (("blur", blur), ("reach", reach), ("tol", tol), ("max_iter", max_iter)):
        if value is not None and not (0 < value < math.inf or (exact and name == "blur" and value == 0)):
            raise ValueError(f"{name} is {value}; expected a finite number above 0.")
    return Goal(float(blur), math.inf if reach is None else float(reach), float(tol), int(max_iter), terms)


class Solution(NamedTuple):
    """Divergences of P problems.

    Attributes:
        value: ``(P,)``.
        marginal_error: ``(P,)``, of the worst term.
        iterations: ``(P,)`` int64, of the longest term.
        gradients: with respect to x, y, a and b; empty where they were not wanted. Those of the weights are known up
            to a constant where all mass is moved.
    """

    value: Tensor
    marginal_error: Tensor
    iterations: Tensor
    gradients: Sequence[Tensor]


Backend = Callable[[Clouds, Goal, Sequence[bool]], Solution]
"""Solves problems between clouds; the flags say which gradients are wanted, of x, y, a and b."""


class Potentials(NamedTuple):
    """Solution of P problems; the plan's rows sum to the weights of the first side.

    Attributes:
        f: ``(P, N)``, the soft minimum of g over the columns.
        g: ``(P, M)``.
        marginal_error: ``(P,)``, L1 distance between the plan's column sums and their weights.
        iterations: ``(P,)`` int64.
    """

    f: Tensor
    g: Tensor
    marginal_error: Tensor
    iterations: Tensor


class Point(NamedTuple):
    """Where P problems are: potentials f ``(P, N)`` and g ``(P, M)``, and L1 marginal errors ``(P,)``."""

    f: Tensor
    g: Tensor
    error: Tensor


class Solved:
    """Collects the solutions of problems that leave the batch."""

    potentials: Potentials
    _problems: Tensor | None = None

    def store(self, point: Point, finished: Tensor, iterations: int) -> Tensor | None:
        """Store the finished problems; return the positions of the others, or None where none has finished."""
        keep = (~finished).nonzero().squeeze(-1)
        if len(keep) == len(finished):
            return None
        if self._problems is None:  # unfinished problems overwrite their values later
            f, g, error = (z.clone() for z in point)
            self.potentials = Potentials(f, g, error, torch.full_like(error, iterations, dtype=torch.int64))
            self._problems = keep
            return keep
        done, self._problems = self._problems[finished], self._problems[keep]
        for solution, value in zip(self.potentials, point, strict=False):
            solution[done] = value[finished]
        self.potentials.iterations[done] = iterations
        return keep


class Coupling(NamedTuple):
    """Solution of P problems between clouds.

    Attributes:
        potentials: in the units of the cost.
        targets_of_x: ``(P, N, k)``, the mean of where the plan takes each point of x; empty where it was not wanted.
        targets_of_y: ``(P, M, k)``, the same of y.
    """

    potentials: Potentials
    targets_of_x: Tensor
    targets_of_y: Tensor


class Softmins(Protocol):
    """The soft minima of P problems, in units of eps, wherever they come from.

    Attributes:
        moved: g has moved so far that the extrapolation should forget earlier points.
    """

    moved: bool

    def over_columns(self, g: Tensor) -> Tensor:
        """``(P, M)`` potential g to the potential f ``(P, N)``."""

    def over_rows(self, f: Tensor) -> Tensor:
        """``(P, N)`` potential f to the potential g ``(P, M)``."""

    def keep(self, problems: Tensor) -> None:
        """Keep only these problems."""


Couple = Callable[[Clouds, Goal, bool, Sequence[bool]], Coupling]
"""Solves one term of P divergences; the flags say whether both clouds are one, and which barycentres are wanted."""


def check_finite(x: Tensor, y: Tensor) -> None:
    """Raise ``ValueError`` unless the squares of all points are finite."""
    for name, z in (("x", x), ("y", y)):
        if not math.isfinite(float(torch.linalg.vector_norm(z))):
            raise ValueError(f"{name} holds NaN, infinity or values whose squares overflow; expected finite points.")
