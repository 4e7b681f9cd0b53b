r"""Entropic OT between two large clouds, in the memory of one matrix.

The costs are never kept: of them and of the first potentials only the kernel
:math:`K_{ij} = e^{(f_i + g_j - C_{ij}) / \varepsilon}` remains, made block by block. What the potentials still lack are
the scalings of its rows and columns, close to 1: a sweep

.. math:: u = (K (b v))^{-1}, \qquad v = (K^\top (a u))^{-1}

is two products with a vector, and Anderson acceleration in :math:`\log v` needs few of them. Where mass may be made and
destroyed, potentials are damped soft minima, :math:`f = \lambda \, \mathrm{softmin}(g)`, and so are the scalings:
:math:`\log u = -\lambda \log K (b v) - (1 - \lambda) f / \varepsilon`.

Sweeps start from :math:`g = 0`: on a thousand points and more annealing saves one or two of them, and costs ten
exponentials of the whole matrix. Only costs that span many blurs are annealed.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pkdot.transport.problem import Clouds, Coupling, Settings, centred, marginal_error
from pkdot.transport.solvers.anderson import Anderson
from pkdot.transport.solvers.softmin import SMALLEST_EXPONENT

_BLOCK_ENTRIES = 2**22
_MARGIN = 10.0
_MEMORY = 6
_LOST = 4.0
_RELAXATION = 2.0 / 3.0
# Costs that span less need no annealing; the temperature falls by this factor.
_NARROW_RANGE, _COOLING = 256.0, 2.0
# Scalings this far from 1, as logarithms, leave the range of single precision.
_FURTHEST = 30.0
# The marginal error that single precision reaches.
_SINGLE_TOL = 2e-5


def couple_large(clouds: Clouds, settings: Settings, symmetric: bool, targets: Sequence[bool]) -> Coupling:
    """Potentials, and the mean targets that are wanted, of P problems: one by one, each fills the machine."""
    settings = settings._replace(tol=settings.tol / _MARGIN)
    solver = _solve_symmetric if symmetric else _solve
    solutions = [solver(Clouds(*problem), settings, targets) for problem in zip(*clouds, strict=True)]
    return Coupling(*(torch.stack(part) for part in zip(*solutions, strict=True)))


class _Kernel:
    """The kernel of one problem, whose points are in units of the blur and whose potentials are in units of eps."""

    def __init__(self, x: Tensor, y: Tensor, tol: float) -> None:
        self._x, self._y = x, y
        self._half_squares = y.square().sum(-1) / 2
        lengths = x.norm(dim=-1).max() + y.norm(dim=-1).max()
        self.range = float(lengths.square() / 2)
        single = torch.finfo(torch.float32).eps
        self._exponent_dtype = x.dtype if self.range * single > tol else torch.float32
        self.dtype = x.dtype if tol < _SINGLE_TOL else torch.float32
        self._matrix = x.new_empty(0)

    def fill(self, f: Tensor, g: Tensor) -> None:
        """``exp(f + g - cost)``."""
        if not self._matrix.numel():
            self._matrix = self._x.new_empty(len(self._x), len(self._y), dtype=self.dtype)
        for rows, exponents in self._blocks(f, g, 1.0, out=self._matrix):
            masses = exponents.clamp_(SMALLEST_EXPONENT, -SMALLEST_EXPONENT).exp_()
            if masses.dtype != self.dtype:
                self._matrix[rows] = masses

    def over_columns(self, v: Tensor) -> Tensor:
        """``K v``, of one vector or of several."""
        return (self._matrix @ v.to(self.dtype)).to(v.dtype)

    def over_rows(self, u: Tensor) -> Tensor:
        """``K^T u``, of one vector or of several."""
        return (self._matrix.mT @ u.to(self.dtype)).to(u.dtype)

    def softmins(self, g: Tensor, a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """The soft minima over columns at temperature ``1 / scale``, and from them those over rows."""
        f, column_sums, zero = torch.empty_like(a), torch.zeros_like(b), torch.zeros_like(a)
        for rows, exponents in self._blocks(zero, g, scale):
            largest = exponents.amax(-1, keepdim=True)
            masses = exponents.sub_(largest).clamp_(min=SMALLEST_EXPONENT).exp_()
            row_sums = masses @ b.to(masses.dtype)
            f[rows] = -(row_sums.log() + largest.squeeze(-1)).to(f.dtype)
            # The plan's rows sum to a: its column sums tell by how much g misses.
            column_sums += ((a[rows].to(masses.dtype) / row_sums) @ masses).to(b.dtype)
        return f, g - column_sums.log()

    def _blocks(self, f: Tensor, g: Tensor, scale: float, out: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Some rows at a time, ``f + g - scale * cost``; written to ``out`` where that has the right precision."""
        dtype = self._exponent_dtype
        y, offset = self._y.to(dtype), (g - scale * self._half_squares).to(dtype)
        step = max(1, _BLOCK_ENTRIES // len(self._y))
        for first in range(0, len(self._x), step):
            rows = slice(first, first + step)
            x = self._x[rows].to(dtype)
            target = None if out is None or out.dtype != dtype else out[rows]
            exponents = torch.addmm(offset, x, y.mT, alpha=scale, out=target)
            yield rows, exponents.add_((f[rows].to(dtype) - scale * x.square().sum(-1) / 2).unsqueeze(-1))


def _solve(clouds: Clouds, settings: Settings, targets: Sequence[bool]) -> Coupling:
    x, y, a, b = clouds
    blur, damping = settings.eps**0.5, settings.damping
    kernel = _Kernel(x / blur, y / blur, settings.tol)
    f, g = _annealed(kernel, a, b, settings)
    kernel.fill(f, g)
    log_v, best = torch.zeros_like(b), (f, g)
    # Since the kernel was made, and in all.
    recent_error = least_error = torch.full((), torch.inf, dtype=b.dtype, device=b.device)
    anderson, follows = Anderson(log_v[None], _MEMORY), False
    for sweep in range(1, settings.max_iter + 1):
        log_u, column_sums = _sweep(kernel, a, b, f, log_v, damping)
        residual = -damping * column_sums.log() - (1 - damping) * g - log_v
        error = marginal_error(b, residual / damping)
        lost = not bool(error <= _LOST * recent_error)
        recent_error = torch.minimum(recent_error, error)
        if error < least_error:
            least_error, best = error, (f + log_u, g + log_v)
        if least_error <= settings.tol or sweep == settings.max_iter:
            break
        if lost:
            log_v, follows = best[1] - g, False
            continue
        residual = centred(residual, b) if damping == 1.0 else residual
        continues = torch.tensor([follows], device=b.device)
        log_v, follows = anderson.advance(log_v[None], residual[None], b[None], continues)[0], True
        if log_v.abs().max() > _FURTHEST:
            # Only of potentials that fit each other do the kernel's entries stay in range.
            f, g = (damping * z for z in kernel.softmins(g + log_v, a, b, 1.0))
            kernel.fill(f, g)
            log_v, follows, recent_error = torch.zeros_like(b), False, torch.full_like(error, torch.inf)
    if error > least_error:
        f, g = best
        kernel.fill(f, g)
        log_u, log_v = torch.zeros_like(a), torch.zeros_like(b)
    empty = x.new_empty(0)
    return Coupling(
        (f + log_u) * settings.eps,
        (g + log_v) * settings.eps,
        least_error,
        torch.tensor(sweep, device=b.device),
        _targets(kernel.over_columns, b * log_v.exp(), y) if targets[0] else empty,
        _targets(kernel.over_rows, a * log_u.exp(), x) if targets[1] else empty,
    )


def _annealed(kernel: _Kernel, a: Tensor, b: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """First potentials: those of a temperature that falls from where the costs span a narrow range."""
    g, scale = torch.zeros_like(b), min(1.0, _NARROW_RANGE / kernel.range) if kernel.range > 0 else 1.0
    while scale < 1.0:
        _, g = kernel.softmins(g, a, b, scale)
        warmer, scale = scale, min(1.0, scale * _COOLING)
        g = centred(g, b) * (scale / warmer)
    f, g = kernel.softmins(g, a, b, 1.0)
    return settings.damping * f, settings.damping * g


def _sweep(kernel: _Kernel, a: Tensor, b: Tensor, f: Tensor, log_v: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    log_u = -damping * kernel.over_columns(b * log_v.exp()).log() - (1 - damping) * f
    return log_u, kernel.over_rows(a * log_u.exp())


def _solve_symmetric(clouds: Clouds, settings: Settings, targets: Sequence[bool]) -> Coupling:
    x, _, a, _ = clouds
    damping = settings.damping
    points = x / settings.eps**0.5
    kernel = _Kernel(points, points, settings.tol)
    f = damping * kernel.softmins(torch.zeros_like(a), a, a, 1.0)[0] / 2
    kernel.fill(f, f)
    log_u = torch.zeros_like(a)
    for sweep in range(1, settings.max_iter + 1):
        residual = -damping * kernel.over_columns(a * log_u.exp()).log() - (1 - damping) * f - log_u
        error = marginal_error(a, residual / damping)
        if error <= settings.tol or sweep == settings.max_iter:
            break
        log_u = log_u + _RELAXATION * residual
    return Coupling(
        (f + log_u + residual) * settings.eps,
        (f + log_u) * settings.eps,
        error,
        torch.tensor(sweep, device=a.device),
        _targets(kernel.over_columns, a * log_u.exp(), x) if targets[0] else x.new_empty(0),
        x.new_empty(0),
    )


def _targets(product: Callable[[Tensor], Tensor], scaling: Tensor, points: Tensor) -> Tensor:
    """Where the plan takes each point on the other side: the mean of ``points``, weighted by its row."""
    sums = product(torch.cat([scaling.unsqueeze(-1), scaling.unsqueeze(-1) * points], dim=-1))
    return sums[:, 1:] / sums[:, :1]
