r"""Large problems on a GPU: soft minima over tiles of the costs, which are never kept.

A soft minimum :math:`-\log \sum_j b_j e^{g_j - C_{ij}}` needs of the costs the inner products alone: their squares
:math:`\|y_j\|^2 / 2` go with the potential. It is the normaliser of an attention whose queries are x and whose keys
are y; with y as values too, its result is where the plan takes x. Columns are rows with the arguments swapped.

Points are in units of the blur and potentials in units of eps. Import this module where triton is installed.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from pkdot.transport.problem import centred, marginal_error
from pkdot.transport.solvers.anderson import Anderson

PRECISION = "ieee"
"""Of inner products. Exponents are costs: the ten bits of TF32 would not do, three products of it ("tf32x3") may."""
_MEMORY = 6
_LOST = 4.0
_RELAXATION = 2.0 / 3.0
# Costs that span less need no annealing; others begin where they span this, and the temperature falls by this factor.
_NARROW_RANGE, _FIRST_RANGE, _COOLING = 256.0, 64.0, 1.5
# The gradient is first order in the marginal error, where the value is second order: aim beyond the tolerance, as far
# as single precision goes.
_MARGIN, _FLOOR, _FLOOR_OF_RANGE = 10.0, 2e-6, 1e-8
# Sweeps between two looks at the error: each look waits for the GPU.
_PATIENCE = 4
# Coordinates of a target that one program computes, and of a point that it reads at once.
_LARGEST_TILE = 32


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    x, y, biases, normalisers, targets, n, m, k, scale,
    TARGETS: tl.constexpr, K_TILE: tl.constexpr, K_TILES: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    problem = tl.program_id(1).to(tl.int64)
    x += problem * n * k
    y += problem * m * k
    i = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    within = tl.arange(0, K_TILE)
    own = tl.program_id(2) * K_TILE + within
    largest = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    sums = tl.zeros((BLOCK_N,), tl.float32)
    means = tl.zeros((BLOCK_N, K_TILE), tl.float32)
    for first in range(0, m, BLOCK_M):
        j = first + tl.arange(0, BLOCK_M)
        products = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
        for tile in range(K_TILES):
            c = tile * K_TILE + within
            of_x = tl.load(x + i[:, None] * k + c[None, :], mask=(i < n)[:, None] & (c < k)[None, :], other=0.0)
            of_y = tl.load(y + j[:, None] * k + c[None, :], mask=(j < m)[:, None] & (c < k)[None, :], other=0.0)
            products = tl.dot(of_x, tl.trans(of_y), products, input_precision=PRECISION)
        bias = tl.load(biases + problem * m + j, mask=j < m, other=float("-inf"))
        exponents = scale * products + bias[None, :]
        larger = tl.maximum(largest, tl.max(exponents, 1))
        # A tile without any weight must not make NaN of infinity less infinity.
        shift = tl.where(larger == float("-inf"), 0.0, larger)
        masses = tl.exp(exponents - shift[:, None])
        shrink = tl.exp(largest - shift)
        sums = sums * shrink + tl.sum(masses, 1)
        if TARGETS:
            values = tl.load(y + j[:, None] * k + own[None, :], mask=(j < m)[:, None] & (own < k)[None, :], other=0.0)
            means = tl.dot(masses, values, means * shrink[:, None], input_precision=PRECISION)
        largest = larger
    if TARGETS:
        places = targets + problem * n * k + i[:, None] * k + own[None, :]
        tl.store(places, means / sums[:, None], mask=(i < n)[:, None] & (own < k)[None, :])
    if tl.program_id(2) == 0:
        tl.store(normalisers + problem * n + i, largest + tl.log(sums), mask=i < n)


def _configs() -> list[triton.Config]:
    shapes: tuple[tuple[int, int, int, int], ...] = ((64, 64, 4, 3), (64, 128, 8, 3), (128, 64, 8, 3), (32, 64, 4, 3))
    if not isinstance(_attend, triton.JITFunction):  # it is interpreted
        shapes = ((16, 16, 1, 1),)
    return [
        triton.Config({"BLOCK_N": rows, "BLOCK_M": columns}, num_warps=warps, num_stages=stages)
        for rows, columns, warps, stages in shapes
    ]


# The benchmark is Triton's own, named because version 3.3 asks the driver for it here, even where there is no GPU.
_tuned = triton.autotune(_configs(), key=["n", "m", "k", "TARGETS"], do_bench=triton.testing.do_bench)(_attend)


class Side(NamedTuple):
    """One side of P problems: points ``(P, N, k)``, half their squares ``(P, N)``, weights and their logarithms."""

    points: Tensor
    half_squares: Tensor
    weight: Tensor
    log_weight: Tensor


class Potentials(NamedTuple):
    """Of one term: f ``(P, N)``, g ``(P, M)`` (nothing where there is no weight), errors and sweeps ``(P,)``."""

    f: Tensor
    g: Tensor
    error: Tensor
    iterations: Tensor


def side(points: Tensor, weight: Tensor) -> Side:
    """What the soft minima need of a cloud."""
    return Side(points, points.square().sum(-1) / 2, weight, weight.log())


def softmin(x: Side, y: Side, g: Tensor, scale: float = 1.0) -> Tensor:
    r"""``(P, M)`` potential g to ``(P, N)`` soft minima :math:`-\log \sum_j b_j e^{g_j - s C_{ij}}`."""
    return scale * x.half_squares - _launch(x, y, g, scale, targets=False)[0]


def softmin_and_targets(x: Side, y: Side, g: Tensor) -> tuple[Tensor, Tensor]:
    r"""As :func:`softmin`, and ``(P, N, k)`` means of y under the rows :math:`b_j e^{f_i + g_j - C_{ij}}`."""
    normalisers, targets = _launch(x, y, g, 1.0, targets=True)
    return x.half_squares - normalisers, targets


def _launch(x: Side, y: Side, g: Tensor, scale: float, *, targets: bool) -> tuple[Tensor, Tensor]:
    (problems, n, k), m = x.points.shape, y.points.shape[1]
    bias = y.log_weight + (g - scale * y.half_squares)
    normalisers = torch.empty_like(x.half_squares)
    means = torch.empty_like(x.points) if targets else normalisers
    tile = min(_LARGEST_TILE, max(16, triton.next_power_of_2(k)))
    tiles = triton.cdiv(k, tile)
    _tuned[lambda blocks: (triton.cdiv(n, blocks["BLOCK_N"]), problems, tiles if targets else 1)](
        *(x.points, y.points, bias, normalisers, means, n, m, k, scale),
        TARGETS=targets,
        K_TILE=tile,
        K_TILES=tiles,
        PRECISION=PRECISION,
    )
    return normalisers, means


def solve_large(x: Side, y: Side, tol: float, max_iter: int) -> Potentials:
    """Potentials between two clouds, of P problems at once."""
    iterations = torch.zeros(len(x.weight), dtype=torch.int64, device=x.weight.device)
    widest = _widest(x, y)
    aim = _aim(tol, widest)
    g = best = _annealed(x, y, widest)
    least_error = torch.full_like(x.weight[:, 0], torch.inf)
    anderson, follows = Anderson(g, _MEMORY), torch.zeros_like(iterations, dtype=torch.bool)
    for sweep in range(1, max_iter + 1):
        residual = torch.where(y.weight > 0, softmin(y, x, softmin(x, y, g)) - g, 0.0)
        error = marginal_error(y.weight, residual)
        going = least_error > aim
        iterations += going
        better = going & (error < least_error)
        lost = ~(error <= _LOST * least_error)
        best, least_error = torch.where(better[:, None], g, best), torch.where(better, error, least_error)
        if sweep % _PATIENCE == 0 and not bool((least_error > aim).any()):
            break
        step = anderson.advance(g, centred(residual, y.weight), y.weight, follows)
        g, follows = torch.where(lost[:, None], best, step), ~lost
    return Potentials(softmin(x, y, best), best, least_error, iterations)


def solve_large_symmetric(x: Side, tol: float, max_iter: int) -> Potentials:
    """The potential between a cloud and itself, of P problems at once."""
    iterations = torch.zeros(len(x.weight), dtype=torch.int64, device=x.weight.device)
    aim = _aim(tol, _widest(x, x))
    g = softmin(x, x, torch.zeros_like(x.weight)) / 2
    for sweep in range(1, max_iter + 1):
        f = softmin(x, x, g)
        error = marginal_error(x.weight, f - g)
        going = error > aim
        iterations += going
        if sweep == max_iter or (sweep % _PATIENCE == 0 and not bool(going.any())):
            break
        g = torch.where(going[:, None], g + _RELAXATION * (f - g), g)
    return Potentials(f, g, error, iterations.clamp(min=1))


def _widest(x: Side, y: Side) -> float:
    """No cost of any problem is above."""
    lengths = [torch.where(z.weight > 0, z.half_squares, 0.0).amax(-1).mul(2).sqrt() for z in (x, y)]
    return float((lengths[0] + lengths[1]).amax()) ** 2 / 2


def _aim(tol: float, widest: float) -> float:
    return max(tol / _MARGIN, min(tol, _FLOOR + _FLOOR_OF_RANGE * widest))


def _annealed(x: Side, y: Side, widest: float) -> Tensor:
    """The first potential: that of a temperature that falls from where the costs span a narrow range."""
    g = torch.zeros_like(y.weight)
    scale = _FIRST_RANGE / widest if widest > _NARROW_RANGE else 1.0
    while scale < 1.0:
        g = centred(softmin(y, x, softmin(x, y, g, scale), scale), y.weight)
        warmer, scale = scale, min(1.0, scale * _COOLING)
        g = g * (scale / warmer)
    return g
