r"""Large problems on a GPU: soft minima over tiles of the costs, which are never kept.

Of the costs a soft minimum :math:`-\log \sum_j b_j e^{g_j - C_{ij}}` needs only the inner products, as the squares
:math:`\|y_j\|^2 / 2` can be added to the potential. So it is the normaliser of an attention with queries x and keys y;
with y as values too, the attention's result is where the plan takes x. Rows and columns swap with the arguments.

Points are in units of the blur and potentials in units of eps. Import this module where triton is installed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from pkdot.transport.constants import MARGIN, TRITON_ANNEALING, TRITON_FLOOR, TRITON_FLOOR_OF_RANGE
from pkdot.transport.problem import Clouds, Coupling, Goal, check_finite
from pkdot.transport.solvers.sweeps import annealed, centred, iterate

PRECISION = "ieee"
"""Precision of inner products. They are exponents: ten bits (TF32) are too few; three products ("tf32x3") may do."""
# Sweeps between two looks at the error: each look waits for the GPU.
_PATIENCE = 4
# Coordinates of a barycentre that one program computes, and of a point that it reads at once.
_LARGEST_TILE = 32


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    x, y, biases, normalisers, barycentres, n, m, k, scale,
    BARYCENTRES: tl.constexpr, K_TILE: tl.constexpr, K_TILES: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Normalisers and, if wanted, barycentres of BLOCK_N points x; one program for each tile of their coordinates.

    As in flash attention, the sums so far are scaled down whenever a tile has a larger exponent.
    """
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
        # In a tile without weight all exponents are -inf, and -inf - -inf would be NaN.
        shift = tl.where(larger == float("-inf"), 0.0, larger)
        masses = tl.exp(exponents - shift[:, None])
        shrink = tl.exp(largest - shift)
        sums = sums * shrink + tl.sum(masses, 1)
        if BARYCENTRES:
            values = tl.load(y + j[:, None] * k + own[None, :], mask=(j < m)[:, None] & (own < k)[None, :], other=0.0)
            means = tl.dot(masses, values, means * shrink[:, None], input_precision=PRECISION)
        largest = larger
    if BARYCENTRES:
        places = barycentres + problem * n * k + i[:, None] * k + own[None, :]
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
_tuned = triton.autotune(_configs(), key=["n", "m", "k", "BARYCENTRES"], do_bench=triton.testing.do_bench)(_attend)


class Side(NamedTuple):
    """One side of P problems: points ``(P, N, k)``, half their squares ``(P, N)``, weights and their logarithms."""

    points: Tensor
    half_squares: Tensor
    weight: Tensor
    log_weight: Tensor


def side(points: Tensor, weight: Tensor) -> Side:
    """What the soft minima need of a cloud."""
    return Side(points, points.square().sum(-1) / 2, weight, weight.log())


def softmin(x: Side, y: Side, g: Tensor, scale: float = 1.0) -> Tensor:
    r"""``(P, M)`` potential g to ``(P, N)`` soft minima :math:`-\log \sum_j b_j e^{g_j - s C_{ij}}`."""
    return scale * x.half_squares - _launch(x, y, g, scale, barycentres=False)[0]


def softmin_and_barycentres(x: Side, y: Side, g: Tensor) -> tuple[Tensor, Tensor]:
    r"""As :func:`softmin`, and ``(P, N, k)`` means of y under the rows :math:`b_j e^{f_i + g_j - C_{ij}}`."""
    normalisers, barycentres = _launch(x, y, g, 1.0, barycentres=True)
    return x.half_squares - normalisers, barycentres


def _launch(x: Side, y: Side, g: Tensor, scale: float, *, barycentres: bool) -> tuple[Tensor, Tensor]:
    (problems, n, k), m = x.points.shape, y.points.shape[1]
    bias = y.log_weight + (g - scale * y.half_squares)
    normalisers = torch.empty_like(x.half_squares)
    means = torch.empty_like(x.points) if barycentres else normalisers
    tile = min(_LARGEST_TILE, max(16, triton.next_power_of_2(k)))
    tiles = triton.cdiv(k, tile)
    _tuned[lambda blocks: (triton.cdiv(n, blocks["BLOCK_N"]), problems, tiles if barycentres else 1)](
        *(x.points, y.points, bias, normalisers, means, n, m, k, scale),
        BARYCENTRES=barycentres,
        K_TILE=tile,
        K_TILES=tiles,
        PRECISION=PRECISION,
    )
    return normalisers, means


def couple_streamed(clouds: Clouds, goal: Goal, symmetric: bool, barycentres: Sequence[bool]) -> Coupling:
    """Solve P balanced problems at once, in single precision: a :data:`pkdot.transport.problem.Couple`."""
    x, y = (side((z / goal.blur).float(), w.float()) for z, w in zip(clouds[:2], clouds[2:], strict=True))
    check_finite(x.points, y.points)
    # No cost of any problem is above.
    widest = float((_radius(x) + _radius(y)).amax()) ** 2 / 2
    aim = max(goal.tol / MARGIN, min(goal.tol, TRITON_FLOOR + TRITON_FLOOR_OF_RANGE * widest))
    softmins, g = StreamedSoftmins(x, y), torch.zeros_like(y.weight)
    if symmetric:
        g = softmin(x, x, g) / 2
    else:
        g = annealed(softmins.at, g, TRITON_ANNEALING.hottest(widest), TRITON_ANNEALING.cooling)
    found = iterate(softmins, g, y.weight, goal._replace(tol=aim), symmetric=symmetric, patience=_PATIENCE)
    f, g, empty = found.f, found.g, clouds.x.new_empty(0)
    if not symmetric and bool((y.weight == 0).any()):
        # Sweeps do not define the potential of points without weight.
        g = torch.where(y.weight > 0, g, softmin(y, x, f))
    return Coupling(
        found._replace(f=goal.eps * f.double(), g=goal.eps * g.double()),
        goal.blur * softmin_and_barycentres(x, y, g)[1].double() if barycentres[0] else empty,
        goal.blur * softmin_and_barycentres(y, x, f)[1].double() if barycentres[1] else empty,
    )


class StreamedSoftmins:
    """The soft minima of P problems, tile by tile."""

    moved = False

    def __init__(self, x: Side, y: Side) -> None:
        self._x, self._y = x, y

    def over_columns(self, g: Tensor, scale: float = 1.0) -> Tensor:
        """``(P, M)`` potential g to f ``(P, N)``, at temperature ``1 / scale``."""
        return softmin(self._x, self._y, g, scale)

    def over_rows(self, f: Tensor, scale: float = 1.0) -> Tensor:
        """``(P, N)`` potential f to g ``(P, M)``, at temperature ``1 / scale``."""
        # A point without weight may lie far away, and would disturb the extrapolation.
        return torch.where(self._y.weight > 0, softmin(self._y, self._x, f, scale), 0.0)

    def at(self, g: Tensor, temperature: float) -> Tensor:
        """One sweep of the annealing."""
        scale = 1 / temperature
        return temperature * centred(self.over_rows(self.over_columns(scale * g, scale), scale), self._y.weight)

    def keep(self, problems: Tensor) -> None:
        """Keep only these problems."""
        self._x, self._y = (Side(*(z[problems] for z in kept)) for kept in (self._x, self._y))


def _radius(z: Side) -> Tensor:
    """``(P,)`` lengths of the longest points that have weight."""
    return torch.where(z.weight > 0, z.half_squares, 0.0).amax(-1).mul(2).sqrt()
