r"""Small problems on a GPU: one launch solves all of them, each term of each problem in one program.

The costs stay in registers, or, of more than 128 points, in the cache. A sweep reads them once: from the soft minima
over columns, :math:`f_i = -\log \sum_j b_j e^{g_j - C_{ij}}`, come rows of a plan that sum to :math:`a`, and by how
much its column sums miss :math:`b` is the step of :math:`g`. Steps are extrapolated as in
:class:`pkdot.transport.solvers.anderson.Anderson`, with differences kept orthonormal: then there is no system to solve,
only inner products to take. When there is room for no more of them they are all forgotten: projections keep some of the
oldest ones alive, which mislead far from where they were taken.

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

from pkdot.transport.problem import Clouds, Goal

LARGEST = 256
# Points whose costs fit into registers, and rows of a tile of more of them.
_LARGEST_KEPT, _TILE_ROWS = 128, 32
_MEMORY = tl.constexpr(8)
_LOST = tl.constexpr(4.0)
_RELAXATION = tl.constexpr(2.0 / 3.0)
# Costs that span less need no annealing; others begin where they span this, and the temperature falls by this factor.
_NARROW_RANGE, _FIRST_RANGE, _COOLING = tl.constexpr(256.0), tl.constexpr(64.0), tl.constexpr(1.5)
# exp of it is a normal number of single precision.
_FURTHEST = tl.constexpr(80.0)
# The gradient is first order in the marginal error, where the value is second order: aim beyond the tolerance, as far
# as single precision goes.
_MARGIN, _FLOOR, _FLOOR_OF_RANGE = tl.constexpr(10.0), tl.constexpr(2e-6), tl.constexpr(1e-8)
# Of a new difference, squared, what must be left beside the older ones: below it there is only rounding.
_NEW_PART = tl.constexpr(1e-6)


@triton.jit  # type: ignore[untyped-decorator]
def _centre(x, y, a, b, n, m, k, of_x, of_y, between, blur, SIZE: tl.constexpr, K_TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write both clouds around their means, in units of the blur, and the way between the means; return its square."""
    i = tl.arange(0, SIZE)
    weight_x = tl.load(a + i, mask=i < n, other=0.0).to(tl.float64)
    weight_y = tl.load(b + i, mask=i < m, other=0.0).to(tl.float64)
    square = tl.zeros((), tl.float64)
    for first in range(0, k, K_TILE):
        c = first + tl.arange(0, K_TILE)
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
    x, y, i, j, n, m, k, ROWS: tl.constexpr, SIZE: tl.constexpr, K_TILE: tl.constexpr
):  # fmt: skip
    squares_x = tl.zeros((ROWS,), tl.float32)
    squares_y = tl.zeros((SIZE,), tl.float32)
    products = tl.zeros((ROWS, SIZE), tl.float32)
    for first in range(0, k, K_TILE):
        c = first + tl.arange(0, K_TILE)
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
        # What some threads write here others read: all are done with the last potential, all see the next.
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
    """Write the plan whose rows sum to a over the costs, and its potential f; return column sums and potential g."""
    j = tl.arange(0, SIZE)
    column_sums = tl.zeros((SIZE,), tl.float32)
    # What some threads write here others read: all are done with the last potential, and below with the costs.
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
    gradient, potential_gradient, wanted, SIZE: tl.constexpr, TILE: tl.constexpr, K_TILE: tl.constexpr,
):  # fmt: skip
    """Write the gradients in points, of which ``scale`` times the plan takes ``weight`` to y, and in their weights."""
    i = tl.arange(0, SIZE)
    for first in range(0, k, K_TILE):
        c = first + tl.arange(0, K_TILE)
        at = i[:, None] * k + c[None, :]
        inside = (i < n)[:, None] & (c < k)[None, :]
        points = tl.load(x + at, mask=inside, other=0.0)
        way = sign * tl.load(between + c, mask=c < k, other=0.0)
        # Balanced transport sees a shift of one cloud in its mean alone.
        potential += tl.sum(points * way[None, :], 1)
        if wanted:
            sums = tl.zeros((SIZE, K_TILE), tl.float32)
            for start in range(0, SIZE, TILE):
                j = start + tl.arange(0, TILE)
                masses = tl.load(plan + i[:, None] * row_stride + j[None, :] * column_stride)
                targets = tl.load(y + j[:, None] * k + c[None, :], mask=(j < m)[:, None] & (c < k)[None, :], other=0.0)
                sums = tl.dot(masses, targets, sums, input_precision="ieee")
            moves = weight[:, None] * (points + way[None, :]) - scale[:, None] * sums
            tl.store(gradient + at, blur * moves, mask=inside)
    tl.store(potential_gradient + i, blur * blur * potential, mask=i < n)


@triton.jit(do_not_specialize=["n_x", "n_y", "k", "max_iter"])  # type: ignore[untyped-decorator]
def _solve(  # type: ignore[no-untyped-def]
    x_of_all, y_of_all, a_of_all, b_of_all, points, ways, costs, potentials,
    values, errors, iterations_of_all, dx_of_all, dy_of_all, da_of_all, db_of_all,
    n_x, n_y, k, blur, tol, max_iter, WANT_X: tl.constexpr, WANT_Y: tl.constexpr,
    ROWS: tl.constexpr, SIZE: tl.constexpr, TILE: tl.constexpr, K_TILE: tl.constexpr,
):  # fmt: skip
    problem, term, problems = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(0)
    place = term * problems + problem
    costs += place * SIZE * SIZE
    f_of_this = potentials + place * SIZE
    between = ways + place * k
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
    points += 2 * place * SIZE * k
    distance = _centre(x, y, a, b, n, m, k, points, points + SIZE * k, between, blur, SIZE, K_TILE)
    x, y = points, points + SIZE * k
    tl.debug_barrier()

    j = tl.arange(0, SIZE)
    weight_x = tl.load(a + tl.arange(0, ROWS), mask=tl.arange(0, ROWS) < n, other=0.0).to(tl.float32)
    weight_y = tl.load(b + j, mask=j < m, other=0.0).to(tl.float32)
    # Points without weight, and the padding, have no part in any sum.
    log_y = tl.where(weight_y > 0, tl.log(weight_y), float("-inf"))
    cost = tl.zeros((ROWS, SIZE), tl.float32)
    widest = 0.0
    for first in range(0, SIZE, ROWS):
        i = first + tl.arange(0, ROWS)
        cost = _half_squared_distances(x, y, i, j, n, m, k, ROWS, SIZE, K_TILE)
        there = (tl.load(a + i, mask=i < n, other=0.0) > 0)[:, None] & (weight_y > 0)[None, :]
        widest = tl.maximum(widest, tl.max(tl.max(tl.where(there, cost, 0.0), 1), 0))
        if ROWS < SIZE:
            tl.store(costs + i[:, None] * SIZE + j[None, :], cost)
    # A self term contracts by three with every sweep, at any temperature.
    scale = tl.where((term == 0) & (widest > _NARROW_RANGE), 1.0 / tl.maximum(widest, 1.0) * _FIRST_RANGE, 1.0)
    aim = tl.maximum(tol / _MARGIN, tl.minimum(tol, widest * _FLOOR_OF_RANGE + _FLOOR))

    slots = tl.arange(0, _MEMORY)[:, None]
    moves = tl.zeros((_MEMORY, SIZE), tl.float32)
    changes = tl.zeros((_MEMORY, SIZE), tl.float32)
    g = tl.zeros((SIZE,), tl.float32)
    best, last_g, last_residual = g, g, g
    least_error = tl.full((), float("inf"), tl.float32)
    follows = term < 0
    iterations = tl.zeros((), tl.int32)
    slot = tl.zeros((), tl.int32)
    while (least_error > aim) & (iterations < max_iter):
        f, column_sums = _sweep(cost, costs, f_of_this, weight_x, a, n, g + log_y, scale, ROWS, SIZE)
        if term == 0:
            missed = tl.where(weight_y > 0, column_sums / weight_y, 1.0)
            error = tl.sum(tl.abs(column_sums - weight_y), 0)
            residual = -tl.log(tl.maximum(missed, tl.exp(-_FURTHEST)))
            # f + c and g - c solve the same problem, and a drifting c takes the digits.
            residual = tl.where(weight_y > 0, residual - tl.sum(weight_y * residual, 0), 0.0)
        else:
            residual = tl.where(weight_y > 0, f - g, 0.0)
            missed = tl.exp(tl.minimum(-residual, _FURTHEST))
            error = tl.sum(weight_y * tl.abs(missed - 1.0), 0)
            residual = residual * _RELAXATION
        if scale < 1:
            cooler = tl.minimum(1.0, scale * _COOLING)
            g = (g + residual) * (cooler / scale)
            scale = cooler
        else:
            iterations += 1
            best = tl.where(error < least_error, g, best)
            lost = (error > least_error * _LOST) | (error != error)
            least_error = tl.where(error < least_error, error, least_error)

            changes = tl.where(slot == 0, 0.0, changes)
            moves = tl.where(slot == 0, 0.0, moves)
            change, move = residual - last_residual, g - last_g
            length = tl.sum(weight_y * change * change, 0)
            old = tl.sum(changes * (weight_y * change)[None, :], 1)[:, None]
            change -= tl.sum(old * changes, 0)
            move -= tl.sum(old * moves, 0)
            left = tl.sum(weight_y * change * change, 0)
            new = follows & (left > length * _NEW_PART)
            inverse = tl.where(new, tl.rsqrt(tl.where(new, left, 1.0)), 0.0)
            changes = tl.where(slots == slot, (inverse * change)[None, :], changes)
            moves = tl.where(slots == slot, (inverse * move)[None, :], moves)
            slot = tl.where(follows, (slot + 1) % _MEMORY, 0)
            along = tl.sum(changes * (weight_y * residual)[None, :], 1)[:, None]
            last_g, last_residual = g, residual
            step = residual - tl.sum(along * (moves + changes), 0)
            g = tl.where(lost, best, g + step)
            changes = tl.where(lost, 0.0, changes)
            moves = tl.where(lost, 0.0, moves)
            follows = lost == 0

    column_sums, elsewhere = _plan(cost, costs, f_of_this, weight_x, a, n, best + log_y, ROWS, SIZE)
    f = tl.load(f_of_this + j)
    weights = tl.load(a + j, mask=j < n, other=0.0).to(tl.float32)
    value = tl.sum((weights * f).to(tl.float64), 0) + tl.sum((weight_y * best).to(tl.float64), 0) + distance / 2
    tl.store(values + place, value * blur * blur)
    tl.store(errors + place, least_error)
    tl.store(iterations_of_all + place, iterations)
    wanted = ((term == 2) & WANT_Y) | ((term != 2) & WANT_X)
    _transport(costs, SIZE, 1, x, y, between, weights, weights * 0 + 1, f, 1.0, n, m, k, blur,
               dx, da, wanted, SIZE, TILE, K_TILE)  # fmt: skip
    if term == 0:
        # What the potential is where there is no weight, the sweeps do not say.
        g = tl.where(weight_y > 0, best, elsewhere)
        normal = tl.where(weight_y > 0, weight_y / column_sums, 0.0)
        dy, db = dy_of_all + problem * n_y * k, db_of_all + problem * n_y
        _transport(costs, 1, SIZE, y, x, between, weight_y, normal, g, -1.0, m, n, k, blur,
                   dy, db, WANT_Y, SIZE, TILE, K_TILE)  # fmt: skip


class Terms(NamedTuple):
    """The first T terms of P divergences: OT(x, y), OT(x, x), OT(y, y).

    Attributes:
        values: ``(T, P)``, in double precision.
        errors: ``(T, P)``, L1 marginal errors.
        iterations: ``(T, P)`` int32.
        gradients: in x, y, a and b, each ``(2, P, ...)``: of OT(x, y), and of half the self term where there is one.
            In points not written, where it is not wanted.
    """

    values: Tensor
    errors: Tensor
    iterations: Tensor
    gradients: Sequence[Tensor]


def solve_small(clouds: Clouds, goal: Goal, wanted: Sequence[bool]) -> Terms:
    """Solve problems of at most ``LARGEST`` points a cloud, contiguous, in single or double precision.

    Points in double precision are centred in it. A tenth of the tolerance is aimed at.
    """
    (problems, n, k), m, terms = clouds.x.shape, clouds.y.shape[1], goal.terms
    size = max(16, triton.next_power_of_2(max(n, m)))
    empty = partial(torch.empty, dtype=torch.float32, device=clouds.x.device)
    results = Terms(
        empty(terms, problems, dtype=torch.float64),
        empty(terms, problems),
        empty(terms, problems, dtype=torch.int32),
        [empty(2, *z.shape) for z in clouds],
    )
    _solve[(problems, terms)](
        *clouds,
        empty(terms, problems, 2, size, k),
        empty(terms, problems, k),
        empty(terms, problems, size, size),
        empty(terms, problems, size),
        *results[:3],
        *results.gradients,
        *(n, m, k, goal.blur, goal.tol, goal.max_iter),
        # Numbers: the interpreter of triton 3.3 has no truth values.
        WANT_X=int(wanted[0]),
        WANT_Y=int(wanted[1]),
        ROWS=size if size <= _LARGEST_KEPT else _TILE_ROWS,
        SIZE=size,
        TILE=min(size, _TILE_ROWS),
        K_TILE=16,
        num_warps=warps(size),
    )
    return results


def warps(size: int) -> int:
    """So many that a tile of the costs fits into the registers."""
    return {16: 1, 32: 2, 64: 4}.get(size, 8)
