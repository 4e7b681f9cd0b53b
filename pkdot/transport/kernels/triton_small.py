r"""Small problems on a GPU: one launch solves all of them, each term of each problem in one program.

The costs stay in registers or, for more than 128 points, in the cache. A sweep reads them once: the soft minima over
the columns, :math:`f_i = -\log \sum_j b_j e^{g_j - C_{ij}}`, make rows of a plan that sum to :math:`a`, and how much
its column sums miss :math:`b` is the step of :math:`g`. Steps are extrapolated as in
:class:`pkdot.transport.solvers.anderson.Anderson`, but the differences are kept orthonormal: then there is no system to
solve, only inner products to take. When the memory is full, all differences are forgotten: projections would keep parts
of the oldest ones, which mislead far from where they were taken.

Every program stops by itself, on the device: nothing here waits for the GPU. Inside, points are in units of the blur,
around the mean of their cloud, and potentials in units of eps. Import this module where triton is installed.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from pkdot.transport import constants
from pkdot.transport.problem import Clouds, Goal

LARGEST = 256
# Points whose costs fit into registers, and rows of a tile of more of them.
_LARGEST_KEPT, _TILE_ROWS = 128, 32
_MEMORY = tl.constexpr(constants.TRITON_MEMORY)
_LOST = tl.constexpr(constants.LOST)
_RELAXATION = tl.constexpr(constants.RELAXATION)
_NARROW, _FIRST, _COOLING = (tl.constexpr(number) for number in constants.TRITON_ANNEALING)
_LARGEST_EXPONENT = tl.constexpr(constants.LARGEST_EXPONENT)
_MARGIN = tl.constexpr(constants.MARGIN)
_FLOOR, _FLOOR_OF_RANGE = tl.constexpr(constants.TRITON_FLOOR), tl.constexpr(constants.TRITON_FLOOR_OF_RANGE)
# What must be left of a new difference beside the older ones, as a part of its square: less is rounding.
_NEW_PART = tl.constexpr(1e-6)
# Coordinates of a point that are read at once, and rows of a matrix product.
_K_TILE, _PRODUCT_ROWS = tl.constexpr(16), tl.constexpr(32)


@triton.jit  # type: ignore[untyped-decorator]
def _centre(x, y, a, b, n, m, k, of_x, of_y, between, blur, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write both clouds, centred and in units of the blur, and the offset between their means; return its square.

    Means are taken in double precision: the differences of single numbers far from the origin have few digits left.
    """
    i = tl.arange(0, SIZE)
    weight_x = tl.load(a + i, mask=i < n, other=0.0).to(tl.float64)
    weight_y = tl.load(b + i, mask=i < m, other=0.0).to(tl.float64)
    square = tl.zeros((), tl.float64)
    for first in range(0, k, _K_TILE):
        c = first + tl.arange(0, _K_TILE)
        at = i[:, None] * k + c[None, :]
        in_x, in_y = (i < n)[:, None] & (c < k)[None, :], (i < m)[:, None] & (c < k)[None, :]
        points_x = tl.load(x + at, mask=in_x, other=0.0).to(tl.float64)
        points_y = tl.load(y + at, mask=in_y, other=0.0).to(tl.float64)
        mean_x = tl.sum(points_x * weight_x[:, None], 0)
        mean_y = tl.sum(points_y * weight_y[:, None], 0)
        tl.store(of_x + at, ((points_x - mean_x[None, :]) / blur).to(tl.float32), mask=in_x)
        tl.store(of_y + at, ((points_y - mean_y[None, :]) / blur).to(tl.float32), mask=in_y)
        way = (mean_x - mean_y) / blur
        square += tl.sum(way * way, 0)
        tl.store(between + c, way.to(tl.float32), mask=c < k)
    return square


@triton.jit  # type: ignore[untyped-decorator]
def _half_squared_distances(  # type: ignore[no-untyped-def]
    x, y, i, j, n, m, k, ROWS: tl.constexpr, SIZE: tl.constexpr
):  # fmt: skip
    """``(ROWS, SIZE)`` costs between the points i of x and j of y."""
    squares_x = tl.zeros((ROWS,), tl.float32)
    squares_y = tl.zeros((SIZE,), tl.float32)
    products = tl.zeros((ROWS, SIZE), tl.float32)
    for first in range(0, k, _K_TILE):
        c = first + tl.arange(0, _K_TILE)
        of_x = tl.load(x + i[:, None] * k + c[None, :], mask=(i < n)[:, None] & (c < k)[None, :], other=0.0)
        of_y = tl.load(y + j[:, None] * k + c[None, :], mask=(j < m)[:, None] & (c < k)[None, :], other=0.0)
        squares_x += tl.sum(of_x * of_x, 1)
        squares_y += tl.sum(of_y * of_y, 1)
        # The exponents are costs: the ten bits of TF32 would not do.
        products = tl.dot(of_x, tl.trans(of_y), products, input_precision="ieee")
    return tl.maximum((squares_x / 2)[:, None] + (squares_y / 2)[None, :] - products, 0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _sweep(cost, costs, f, weight_x, a, n, h, scale, ROWS: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Soft minima over columns of ``scale * cost - h``, and the column sums of the plan whose rows sum to a."""
    j = tl.arange(0, SIZE)
    column_sums = tl.zeros((SIZE,), tl.float32)
    potential = tl.zeros((ROWS,), tl.float32)
    if ROWS < SIZE:
        # A thread reads what others wrote. Here all have read the last potential; below all have written the next.
        tl.debug_barrier()
    for first in range(0, SIZE, ROWS):
        i = first + tl.arange(0, ROWS)
        if ROWS < SIZE:
            tile = tl.load(costs + i[:, None] * SIZE + j[None, :])
            weight = tl.load(a + i, mask=i < n, other=0.0).to(tl.float32)
        else:
            tile = cost
            weight = weight_x
        exponents = h[None, :] - scale * tile
        largest = tl.max(exponents, 1)
        masses = tl.exp(exponents - largest[:, None])
        row_sums = tl.sum(masses, 1)
        column_sums += tl.sum(masses * (weight / row_sums)[:, None], 0)
        potential = -largest - tl.log(row_sums)
        if ROWS < SIZE:
            tl.store(f + i, potential)
    if ROWS < SIZE:
        tl.debug_barrier()
        potential = tl.load(f + j)
    return potential, column_sums


@triton.jit  # type: ignore[untyped-decorator]
def _plan(cost, costs, f, weight_x, a, n, h, ROWS: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write the plan whose rows sum to a, in the place of the costs, and its potential f.

    Returns its column sums, and the potential g that follows from f. The largest exponent of a column is known only
    after its last row, so the sums are scaled down whenever a larger one comes.
    """
    j = tl.arange(0, SIZE)
    column_sums = tl.zeros((SIZE,), tl.float32)
    # A thread reads what others wrote: here all have read the last potential, and below the costs of these rows.
    tl.debug_barrier()
    furthest = tl.full((SIZE,), float("-inf"), tl.float32)
    sums = tl.zeros((SIZE,), tl.float32)
    for first in range(0, SIZE, ROWS):
        i = first + tl.arange(0, ROWS)
        at = i[:, None] * SIZE + j[None, :]
        if ROWS < SIZE:
            tile = tl.load(costs + at)
            weight = tl.load(a + i, mask=i < n, other=0.0).to(tl.float32)
        else:
            tile = cost
            weight = weight_x
        exponents = h[None, :] - tile
        largest = tl.max(exponents, 1)
        masses = tl.exp(exponents - largest[:, None])
        row_sums = tl.sum(masses, 1)
        masses *= (weight / row_sums)[:, None]
        column_sums += tl.sum(masses, 0)
        potential = -largest - tl.log(row_sums)
        tl.store(f + i, potential)
        exponents = (potential + tl.where(weight > 0, tl.log(weight), float("-inf")))[:, None] - tile
        further = tl.maximum(furthest, tl.max(exponents, 0))
        shift = tl.where(further == float("-inf"), 0.0, further)
        sums = sums * tl.exp(furthest - shift) + tl.sum(tl.exp(exponents - shift[None, :]), 0)
        furthest = further
        if ROWS < SIZE:
            tl.debug_barrier()
        tl.store(costs + at, masses)
    tl.debug_barrier()
    return column_sums, -furthest - tl.log(sums)


@triton.jit  # type: ignore[untyped-decorator]
def _transport(  # type: ignore[no-untyped-def]
    plan, row_stride, column_stride, x, y, between, weight, scale, potential, sign, n, m, k, blur,
    gradient, potential_gradient, wanted, SIZE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Write the gradients in points and in weights of one side; rows of ``scale * plan`` sum to ``weight``."""
    i = tl.arange(0, SIZE)
    # Few rows at a time: a product of whole matrices would not fit into the registers.
    TILE: tl.constexpr = ROWS if ROWS < _PRODUCT_ROWS else _PRODUCT_ROWS
    for first in range(0, k, _K_TILE):
        c = first + tl.arange(0, _K_TILE)
        at = i[:, None] * k + c[None, :]
        inside = (i < n)[:, None] & (c < k)[None, :]
        points = tl.load(x + at, mask=inside, other=0.0)
        way = sign * tl.load(between + c, mask=c < k, other=0.0)
        # Balanced transport sees a shift of one cloud in its mean alone.
        potential += tl.sum(points * way[None, :], 1)
        if wanted:
            sums = tl.zeros((SIZE, _K_TILE), tl.float32)
            for start in range(0, SIZE, TILE):
                j = start + tl.arange(0, TILE)
                masses = tl.load(plan + i[:, None] * row_stride + j[None, :] * column_stride)
                others = tl.load(y + j[:, None] * k + c[None, :], mask=(j < m)[:, None] & (c < k)[None, :], other=0.0)
                sums = tl.dot(masses, others, sums, input_precision="ieee")
            moves = weight[:, None] * (points + way[None, :]) - scale[:, None] * sums
            tl.store(gradient + at, blur * moves, mask=inside)
    tl.store(potential_gradient + i, blur * blur * potential, mask=i < n)


@triton.jit  # type: ignore[untyped-decorator]
def _costs(costs, x, y, a, weight_y, n, m, k, ROWS: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The costs, written where they do not stay in registers, and the largest between points that have weight."""
    j = tl.arange(0, SIZE)
    cost = tl.zeros((ROWS, SIZE), tl.float32)
    widest = 0.0
    for first in range(0, SIZE, ROWS):
        i = first + tl.arange(0, ROWS)
        cost = _half_squared_distances(x, y, i, j, n, m, k, ROWS, SIZE)
        there = (tl.load(a + i, mask=i < n, other=0.0) > 0)[:, None] & (weight_y > 0)[None, :]
        widest = tl.maximum(widest, tl.max(tl.max(tl.where(there, cost, 0.0), 1), 0))
        if ROWS < SIZE:
            tl.store(costs + i[:, None] * SIZE + j[None, :], cost)
    return cost, widest


@triton.jit
def _judge(term, f, g, column_sums, weight_y):  # type: ignore[no-untyped-def]
    """The step of g after a sweep, and its L1 marginal error."""
    if term > 0:  # both clouds are one, and f is the next g
        step = tl.where(weight_y > 0, f - g, 0.0)
        missed = tl.exp(tl.minimum(-step, _LARGEST_EXPONENT))
        error = tl.sum(weight_y * tl.abs(missed - 1.0), 0)
        step = step * _RELAXATION
    else:
        missed = tl.where(weight_y > 0, column_sums / weight_y, 1.0)
        error = tl.sum(tl.abs(column_sums - weight_y), 0)
        step = -tl.log(tl.maximum(missed, tl.exp(-_LARGEST_EXPONENT)))
        # f + c and g - c solve the same problem, and a drifting c takes the digits.
        step = tl.where(weight_y > 0, step - tl.sum(weight_y * step, 0), 0.0)
    return step, error


@triton.jit
def _remember(changes, moves, slot, change, move, weight, follows):  # type: ignore[no-untyped-def]
    """Add a difference of steps to ``changes``, orthonormal, and to ``moves`` the difference of points beside it."""
    slots = tl.arange(0, _MEMORY)[:, None]
    changes = tl.where(slot == 0, 0.0, changes)  # no room: forget all
    moves = tl.where(slot == 0, 0.0, moves)
    length = tl.sum(weight * change * change, 0)
    old = tl.sum(changes * (weight * change)[None, :], 1)[:, None]
    change -= tl.sum(old * changes, 0)
    move -= tl.sum(old * moves, 0)
    left = tl.sum(weight * change * change, 0)
    new = follows & (left > length * _NEW_PART)
    inverse = tl.where(new, tl.rsqrt(tl.where(new, left, 1.0)), 0.0)
    changes = tl.where(slots == slot, (inverse * change)[None, :], changes)
    moves = tl.where(slots == slot, (inverse * move)[None, :], moves)
    return changes, moves, tl.where(follows, (slot + 1) % _MEMORY, 0)


@triton.jit  # type: ignore[untyped-decorator]
def _iterate(  # type: ignore[no-untyped-def]
    cost, costs, potentials, weight_x, weight_y, a, n, widest, term, tol, max_iter,
    ROWS: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Sweep until the tolerance: the best g, its marginal error, and the number of sweeps at the final temperature."""
    # Points without weight, and the padding, have no part in any sum.
    log_y = tl.where(weight_y > 0, tl.log(weight_y), float("-inf"))
    # A symmetric problem contracts by three with every sweep, at any temperature.
    scale = tl.where((term == 0) & (widest > _NARROW), 1.0 / tl.maximum(widest, 1.0) * _FIRST, 1.0)
    # The gradient is first order in the marginal error, where the value is second order: aim beyond the tolerance, as
    # far as single precision goes.
    aim = tl.maximum(tol / _MARGIN, tl.minimum(tol, widest * _FLOOR_OF_RANGE + _FLOOR))
    moves = tl.zeros((_MEMORY, SIZE), tl.float32)
    changes = tl.zeros((_MEMORY, SIZE), tl.float32)
    g = tl.zeros((SIZE,), tl.float32)
    best, last_g, last_step = g, g, g
    least_error = tl.full((), float("inf"), tl.float32)
    follows = term < 0
    iterations = tl.zeros((), tl.int32)
    slot = tl.zeros((), tl.int32)
    while (least_error > aim) & (iterations < max_iter):
        f, column_sums = _sweep(cost, costs, potentials, weight_x, a, n, g + log_y, scale, ROWS, SIZE)
        step, error = _judge(term, f, g, column_sums, weight_y)
        if scale < 1:
            cooler = tl.minimum(1.0, scale * _COOLING)
            g = (g + step) * (cooler / scale)
            scale = cooler
        else:
            iterations += 1
            best = tl.where(error < least_error, g, best)
            lost = (error > least_error * _LOST) | (error != error)
            least_error = tl.where(error < least_error, error, least_error)
            changes, moves, slot = _remember(changes, moves, slot, step - last_step, g - last_g, weight_y, follows)
            last_g, last_step = g, step
            along = tl.sum(changes * (weight_y * step)[None, :], 1)[:, None]
            g = tl.where(lost, best, g + (step - tl.sum(along * (moves + changes), 0)))
            changes = tl.where(lost, 0.0, changes)
            moves = tl.where(lost, 0.0, moves)
            follows = lost == 0
    return best, least_error, iterations


@triton.jit(do_not_specialize=["n_x", "n_y", "k", "max_iter"])  # type: ignore[untyped-decorator]
def _solve(  # type: ignore[no-untyped-def]
    x_of_all, y_of_all, a_of_all, b_of_all, scratch, results, gradients,
    n_x, n_y, k, blur, tol, max_iter,
    WANT_X: tl.constexpr, WANT_Y: tl.constexpr, ROWS: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Solve one term of one problem; :func:`solve_small` describes the layout."""
    problem, term, problems = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(0).to(tl.int64)
    place, places = term * problems + problem, tl.num_programs(1) * problems
    costs = scratch + place * SIZE * SIZE
    potentials = scratch + places * SIZE * SIZE + place * SIZE
    points = scratch + places * (SIZE * SIZE + SIZE) + 2 * place * SIZE * k
    between = scratch + places * (SIZE * SIZE + SIZE + 2 * SIZE * k) + place * k
    dx_of_all, dy_of_all = gradients, gradients + 2 * problems * n_x * k
    da_of_all = dy_of_all + 2 * problems * n_y * k
    db_of_all = da_of_all + 2 * problems * n_x
    # Of a self term both clouds are one, and its gradients are those of the other place in their outputs.
    x, a, n = x_of_all + problem * n_x * k, a_of_all + problem * n_x, n_x
    dx, da = dx_of_all + problem * n_x * k, da_of_all + problem * n_x
    y, b, m = y_of_all + problem * n_y * k, b_of_all + problem * n_y, n_y
    if term == 1:
        y, b, m = x, a, n
        dx, da = dx + problems * n_x * k, da + problems * n_x
    if term == 2:
        x, a, n = y, b, m
        dx, da = dy_of_all + (problems + problem) * n_y * k, db_of_all + (problems + problem) * n_y
    distance = _centre(x, y, a, b, n, m, k, points, points + SIZE * k, between, blur, SIZE)
    x, y = points, points + SIZE * k
    # Other threads read what was written: all must have written.
    tl.debug_barrier()

    i, j = tl.arange(0, ROWS), tl.arange(0, SIZE)
    weight_x = tl.load(a + i, mask=i < n, other=0.0).to(tl.float32)
    weight_y = tl.load(b + j, mask=j < m, other=0.0).to(tl.float32)
    cost, widest = _costs(costs, x, y, a, weight_y, n, m, k, ROWS, SIZE)
    best, error, iterations = _iterate(
        cost, costs, potentials, weight_x, weight_y, a, n, widest, term, tol, max_iter, ROWS, SIZE
    )  # fmt: skip
    log_y = tl.where(weight_y > 0, tl.log(weight_y), float("-inf"))
    column_sums, elsewhere = _plan(cost, costs, potentials, weight_x, a, n, best + log_y, ROWS, SIZE)
    f = tl.load(potentials + j)
    weights = tl.load(a + j, mask=j < n, other=0.0).to(tl.float32)
    value = tl.sum((weights * f).to(tl.float64), 0) + tl.sum((weight_y * best).to(tl.float64), 0) + distance / 2
    tl.store(results + place, value * blur * blur)
    tl.store(results + places + place, error.to(tl.float64))
    tl.store(results + 2 * places + place, iterations.to(tl.float64))
    wanted = ((term == 2) & WANT_Y) | ((term != 2) & WANT_X)
    _transport(costs, SIZE, 1, x, y, between, weights, weights * 0 + 1, f, 1.0, n, m, k, blur,
               dx, da, wanted, SIZE, ROWS)  # fmt: skip
    if term == 0:
        # Sweeps do not define the potential of points without weight.
        g = tl.where(weight_y > 0, best, elsewhere)
        normal = tl.where(weight_y > 0, weight_y / column_sums, 0.0)
        dy, db = dy_of_all + problem * n_y * k, db_of_all + problem * n_y
        _transport(costs, 1, SIZE, y, x, between, weight_y, normal, g, -1.0, m, n, k, blur,
                   dy, db, WANT_Y, SIZE, ROWS)  # fmt: skip


class Terms(NamedTuple):
    """The first T terms of P divergences: OT(x, y), OT(x, x), OT(y, y).

    Attributes:
        values: ``(T, P)``, in double precision.
        errors: ``(T, P)``, L1 marginal errors.
        iterations: ``(T, P)``, whole numbers.
        gradients: in x, y, a and b, each ``(2, P, ...)``: of OT(x, y), and of half the self term where there is one.
            Gradients in points are not written unless they are wanted.
    """

    values: Tensor
    errors: Tensor
    iterations: Tensor
    gradients: Sequence[Tensor]


def solve_small(clouds: Clouds, goal: Goal, wanted: Sequence[bool]) -> Terms:
    """Solve problems of at most ``LARGEST`` points a cloud, contiguous, in single or double precision.

    Points in double precision are centred in it. A tenth of the tolerance is aimed at.
    """
    (problems, n, k), m, places = clouds.x.shape, clouds.y.shape[1], goal.terms * len(clouds.x)
    size = max(16, triton.next_power_of_2(max(n, m)))
    empty = partial(torch.empty, device=clouds.x.device)
    # Scratch holds for each place its costs, then for each its potentials, its two clouds, and the offset between them:
    # the costs come first, so that they are aligned.
    scratch = empty(places * (size * size + size + 2 * size * k + k), dtype=torch.float32)
    results = empty(3, goal.terms, problems, dtype=torch.float64)
    gradients = empty(2 * sum(z.numel() for z in clouds), dtype=torch.float32)
    _solve[(problems, goal.terms)](
        *clouds,
        *(scratch, results, gradients),
        *(n, m, k, goal.blur, goal.tol, goal.max_iter),
        # Numbers: the interpreter of triton 3.3 has no truth values.
        WANT_X=int(wanted[0]),
        WANT_Y=int(wanted[1]),
        ROWS=size if size <= _LARGEST_KEPT else _TILE_ROWS,
        SIZE=size,
        num_warps=warps(size),
    )
    parts, first = [], 0
    for z in clouds:
        parts.append(gradients[first : first + 2 * z.numel()].view(2, *z.shape))
        first += 2 * z.numel()
    return Terms(results[0], results[1], results[2], parts)


def warps(size: int) -> int:
    """Enough that a tile of the costs fits into the registers."""
    return {16: 1, 32: 2, 64: 4}.get(size, 8)
