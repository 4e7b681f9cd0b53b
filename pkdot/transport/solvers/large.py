r"""Entropic OT between two large clouds, in the memory of one matrix.

The costs are never kept: of them and of the first potentials :math:`f^0, g^0` only the kernel
:math:`K_{ij} = e^{f^0_i + g^0_j - C_{ij}}` remains, made block by block. Half a sweep is one product with a vector,

.. math:: f = f^0 - \log K (b \, e^{g - g^0}), \qquad g = g^0 - \log K^\top (a \, e^{f - f^0}),

whose scalings :math:`e^{g - g^0}` stay close to 1. Annealing costs exponentials of the whole matrix: only costs that
span many blurs are annealed.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pkdot.transport.constants import FURTHEST, LARGE_ANNEALING, MARGIN, SINGLE_TOL, SMALLEST_EXPONENT
from pkdot.transport.problem import Clouds, Coupling, Goal, Potentials
from pkdot.transport.solvers.sweeps import annealed, centred, iterate

_BLOCK_ENTRIES = 2**22


def couple_large(clouds: Clouds, goal: Goal, symmetric: bool, barycentres: Sequence[bool]) -> Coupling:
    """Solve P problems, one by one, as each fills the machine: a :data:`pkdot.transport.problem.Couple`."""
    goal, solved = goal._replace(tol=goal.tol / MARGIN), []
    for number in range(len(clouds.x)):
        problem = Clouds(*(z[number : number + 1] for z in clouds))
        kernel = _Kernel(problem, goal)
        f, g, error, iterations = iterate(kernel, kernel.start(symmetric), problem.b, goal, symmetric=symmetric)
        solved.append((goal.eps * f, goal.eps * g, error, iterations, *kernel.barycentres(f, g, barycentres)))
    f, g, error, iterations, *to = (torch.cat(part) for part in zip(*solved, strict=True))
    return Coupling(Potentials(f, g, error, iterations), *to)


class _Kernel:
    """The soft minima of one problem, a batch of 1: potentials and weights have one row."""

    def __init__(self, clouds: Clouds, goal: Goal) -> None:
        self._points, self._a, self._b, self._damping = (clouds.x[0], clouds.y[0]), clouds.a, clouds.b, goal.damping
        self._x, self._y = (z / goal.blur for z in self._points)
        self._span = float((self._x.norm(dim=-1).max() + self._y.norm(dim=-1).max()).square() / 2)
        # Exponents are as large as the costs, and need more digits than what is summed up.
        rounding = self._span * torch.finfo(torch.float32).eps
        self._exponent_dtype = self._x.dtype if rounding > goal.tol else torch.float32
        self.moved, dtype = False, self._x.dtype if goal.tol < SINGLE_TOL else torch.float32
        self._kernel = self._x.new_empty(0, dtype=dtype)

    def start(self, symmetric: bool) -> Tensor:
        """The first g, and its kernel."""
        g = torch.zeros_like(self._b)
        if symmetric:
            g = self._damping * self._softmins(g, 1.0)[0] / 2
            self._fill(g, g)
        else:
            self._sweep(annealed(self._at, g, LARGE_ANNEALING.hottest(self._span), LARGE_ANNEALING.cooling))
        return self._g

    def over_columns(self, g: Tensor) -> Tensor:
        """``(1, M)`` potential g to f ``(1, N)``."""
        log_v = g - self._g
        self.moved = bool(log_v.abs().max() > FURTHEST)
        if self.moved:
            self._sweep(g)
            log_v = g - self._g
        return self._f - self._row_sums(self._b * log_v.exp()).log()

    def over_rows(self, f: Tensor) -> Tensor:
        """``(1, N)`` potential f to g ``(1, M)``."""
        return self._g - self._column_sums(self._a * (f - self._f).exp()).log()

    def keep(self, problems: Tensor) -> None:
        """Nothing to do: there is one problem."""

    def barycentres(self, f: Tensor, g: Tensor, wanted: Sequence[bool]) -> list[Tensor]:
        """Where the plan takes the points of both sides, ``(1, N, k)`` and ``(1, M, k)``: means of the other side's."""
        if (g - self._g).abs().max() > FURTHEST:
            self._fill(f, g)
        to_x = self._mean(self._row_sums, self._b * (g - self._g).exp(), 1) if wanted[0] else f.new_empty(0)
        to_y = self._mean(self._column_sums, self._a * (f - self._f).exp(), 0) if wanted[1] else f.new_empty(0)
        return [to_x, to_y]

    def _mean(self, sums_of: Callable[[Tensor], Tensor], scaling: Tensor, side: int) -> Tensor:
        sums = sums_of(torch.cat([scaling, scaling * self._points[side].mT]))
        return (sums[1:] / sums[:1]).mT[None]

    def _at(self, g: Tensor, temperature: float) -> Tensor:
        return temperature * centred(self._softmins(g / temperature, 1 / temperature)[1], self._b)

    def _sweep(self, g: Tensor) -> None:
        """The kernel of f and g after a sweep: only of potentials that fit each other do its entries stay in range."""
        self._fill(*(self._damping * z for z in self._softmins(g, 1.0)))

    def _fill(self, f: Tensor, g: Tensor) -> None:
        self._f, self._g = f, g
        if not self._kernel.numel():
            self._kernel = self._kernel.new_empty(len(self._x), len(self._y))
        for rows, exponents in self._blocks(f, g, 1.0, out=self._kernel):
            masses = exponents.clamp_(SMALLEST_EXPONENT, -SMALLEST_EXPONENT).exp_()
            if masses.dtype != self._kernel.dtype:
                self._kernel[rows] = masses

    def _row_sums(self, v: Tensor) -> Tensor:
        return (v.to(self._kernel.dtype) @ self._kernel.mT).to(v.dtype)

    def _column_sums(self, u: Tensor) -> Tensor:
        return (u.to(self._kernel.dtype) @ self._kernel).to(u.dtype)

    def _softmins(self, g: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Soft minima: f from g, then the next g from f, at temperature ``1 / scale`` and without a kernel."""
        f, column_sums = torch.empty_like(self._a), torch.zeros_like(self._b)
        for rows, exponents in self._blocks(torch.zeros_like(f), g, scale):
            largest = exponents.amax(-1)
            masses = exponents.sub_(largest.unsqueeze(-1)).clamp_(min=SMALLEST_EXPONENT).exp_()
            row_sums = masses @ self._b[0].to(masses.dtype)
            f[0, rows] = -(row_sums.log() + largest).to(f.dtype)
            # With f the rows are known: their column sums give the error of g with one pass over the costs.
            column_sums += ((self._a[:, rows].to(masses.dtype) / row_sums) @ masses).to(g.dtype)
        return f, g - column_sums.log()

    def _blocks(self, f: Tensor, g: Tensor, scale: float, out: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Some rows at a time, ``f + g - scale * cost``; written to ``out`` where that has the right precision."""
        dtype = self._exponent_dtype
        y, offset = self._y.to(dtype), (g - scale * self._y.square().sum(-1) / 2).to(dtype)
        step = max(1, _BLOCK_ENTRIES // len(self._y))
        for first in range(0, len(self._x), step):
            rows = slice(first, first + step)
            x = self._x[rows].to(dtype)
            target = None if out is None or out.dtype != dtype else out[rows]
            exponents = torch.addmm(offset, x, y.mT, alpha=scale, out=target)
            yield rows, exponents.add_((f[0, rows].to(dtype) - scale * x.square().sum(-1) / 2).unsqueeze(-1))
