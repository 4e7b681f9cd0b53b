"""Sinkhorn's sweeps: accelerated between two histograms, relaxed between a histogram and itself."""

import torch
from torch import Tensor

from pkdot.transport.problem import Potentials, Settings, Solved, centred, marginal_error
from pkdot.transport.solvers.anderson import Anderson
from pkdot.transport.solvers.softmin import Softmin

_MEMORY = 6
_LOST = 4.0
_RELAXATION = 2.0 / 3.0


def accelerated_sweeps(cost: Tensor, a: Tensor, b: Tensor, start: Tensor, settings: Settings) -> Potentials:
    """Potentials of P problems, from a start for ``g``; arguments as in :func:`pkdot.transport.solvers.sinkhorn.solve`.

    A point much worse than the best one seen sends its problem back to that one.
    """
    softmin = Softmin(cost / settings.eps, a.shape[0])
    a, b, g = (z.to(softmin.dtype) for z in (a, b, start / settings.eps))
    log_a, log_b = a.log(), b.log()
    anderson = Anderson(g, _MEMORY)
    # Where mass may be destroyed a constant is no longer free.
    gauged = centred if settings.damping == 1.0 else _as_it_is
    best, solved = _Best(a, b), Solved(a, b)
    follows = torch.zeros(a.shape[0], dtype=torch.bool, device=a.device)

    for sweep in range(1, settings.max_iter + 1):
        f = settings.damping * softmin.over_columns(g, log_b)
        g_next = settings.damping * softmin.over_rows(f, log_a)
        residual = g_next - g
        error = marginal_error(b, residual / settings.damping)
        best.update(f, g_next, error)

        finished = best.error <= settings.tol if sweep < settings.max_iter else torch.ones_like(follows)
        if finished.any():
            keep = solved.store(best.f, best.g, best.error, finished, sweep)
            if not keep.numel():
                break
            for part in (softmin, anderson, best):
                part.keep(keep)
            log_a, log_b, b, follows = log_a[keep], log_b[keep], b[keep], follows[keep]
            g, residual, error = g[keep], residual[keep], error[keep]

        lost = ~(error <= _LOST * best.error)
        g = anderson.advance(g, gauged(residual, b), b, follows & ~lost)
        g = gauged(torch.where(lost.unsqueeze(-1), best.g, g), b)
        follows = ~lost
    return solved.potentials(settings.eps)


def relaxed_sweeps(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> Potentials:
    """Symmetric sweeps, for ``a = b``: see :func:`pkdot.transport.solvers.sinkhorn.solve_symmetric`."""
    softmin = Softmin(cost / settings.eps, a.shape[0])
    a = a.to(softmin.dtype)
    log_a = a.log()
    f = settings.damping * softmin.over_columns(torch.zeros_like(a), log_a) / 2
    best, solved = _Best(a, a), Solved(a, a)

    for sweep in range(1, settings.max_iter + 1):
        f_next = settings.damping * softmin.over_columns(f, log_a)
        residual = f_next - f
        best.update(f, f_next, marginal_error(a, residual / settings.damping))

        last = sweep == settings.max_iter
        finished = torch.ones_like(best.error, dtype=torch.bool) if last else best.error <= settings.tol
        if finished.any():
            keep = solved.store(best.f, best.g, best.error, finished, sweep)
            if not keep.numel():
                break
            for part in (softmin, best):
                part.keep(keep)
            log_a, a, f, residual = log_a[keep], a[keep], f[keep], residual[keep]
        f = f + _RELAXATION * residual
    return solved.potentials(settings.eps)


def _as_it_is(potential: Tensor, weight: Tensor) -> Tensor:
    return potential


class _Best:
    """The best point of each problem so far."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self.f, self.g, self.error = torch.zeros_like(a), torch.zeros_like(b), torch.full_like(a[:, 0], torch.inf)

    def update(self, f: Tensor, g: Tensor, error: Tensor) -> None:
        better = error < self.error
        self.f = torch.where(better.unsqueeze(-1), f, self.f)
        self.g = torch.where(better.unsqueeze(-1), g, self.g)
        self.error = torch.where(better, error, self.error)

    def keep(self, problems: Tensor) -> None:
        self.f, self.g, self.error = self.f[problems], self.g[problems], self.error[problems]
