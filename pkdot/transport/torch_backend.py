r"""Backend ``torch``: divergences between clouds, on any device, from the solvers of this folder.

Each term of a divergence is an entropic OT problem, balanced or, with a finite reach :math:`\sqrt\rho`, unbalanced
(Séjourné et al., 2019). Its value and gradients follow from its potentials and from where its plan takes the points:

.. math::
    \langle a, \phi(f) \rangle + \langle b, \phi(g) \rangle, \qquad
    \partial x_i = a_i \mu_i (x_i - \bar y_i), \qquad \partial a_i = \phi'(f_i),

with the mass :math:`\mu_i = \sum_j P_{ij} / a_i` that leaves :math:`x_i` and its mean target :math:`\bar y_i`. Where
all mass is moved, :math:`\mu = 1` and :math:`\phi(f) = \phi'(f) = f`; else :math:`\mu = e^{-f / \rho}`,
:math:`\phi(f) = (\rho + \varepsilon / 2)(1 - \mu)` and :math:`\phi'(f) = (\rho + \varepsilon)(1 - \mu) -
\varepsilon / 2`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pkdot.transport.problem import Clouds, Coupling, Goal, Settings, Solution
from pkdot.transport.solvers.large import couple_large
from pkdot.transport.solvers.sinkhorn import is_small, solve, solve_symmetric
from pkdot.transport.solvers.softmin import SMALLEST_EXPONENT


def divergence(clouds: Clouds, goal: Goal, wanted: Sequence[bool]) -> Solution:
    """Divergences of P problems: a :data:`pkdot.transport.problem.Backend`."""
    check_finite(*clouds[:2])
    x, y, a, b = (finest(z) for z in clouds)
    # Near the origin single precision has more digits. Balanced transport sees a shift of one cloud in its mean alone.
    centre_x, centre_y = a.unsqueeze(-2) @ x, b.unsqueeze(-2) @ y
    if not math.isinf(goal.reach):
        centre_x = centre_y = (centre_x + centre_y) / 2
    x, y = x - centre_x, y - centre_y
    solution = _term(Clouds(x, y, a, b), goal, wanted, symmetric=False)
    for number, (points, weights, first) in enumerate(((x, a, 0), (y, b, 1)), start=2):
        if goal.terms >= number:
            own = Clouds(points, points, weights, weights)
            of_first = [wanted[first], False, wanted[first + 2], False]
            solution = _minus_half(solution, _term(own, goal, of_first, symmetric=True), first)
    return _moved_apart(solution, Clouds(x, y, a, b), centre_x - centre_y, wanted)


def _moved_apart(solution: Solution, clouds: Clouds, between: Tensor, wanted: Sequence[bool]) -> Solution:
    """The solution where the centres of the clouds are not at one place."""
    gradients = list(solution.gradients)
    for i, sign in ((0, 1.0), (1, -1.0)):
        if wanted[i]:
            gradients[i] = gradients[i] + sign * clouds[i + 2].unsqueeze(-1) * between
        if wanted[i + 2]:
            gradients[i + 2] = gradients[i + 2] + sign * (clouds[i] @ between.mT).squeeze(-1)
    return solution._replace(value=solution.value + between.square().sum((-2, -1)) / 2, gradients=gradients)


def check_finite(x: Tensor, y: Tensor) -> None:
    """Raise ``ValueError`` unless the squares of all points are finite."""
    for name, z in (("x", x), ("y", y)):
        if not math.isfinite(float(torch.linalg.vector_norm(z))):
            raise ValueError(f"{name} holds NaN, infinity or values whose squares overflow; expected finite points.")


def finest(z: Tensor) -> Tensor:
    """In double precision, where the device has it."""
    # A cost is divided by eps, small, before it is exponentiated: float32 would round away what tells plans apart.
    return z.float() if z.device.type == "mps" else z.double()


def half_squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """``(*, N, k)`` and ``(*, M, k)`` points to ``(*, N, M)`` costs."""
    squares_x, squares_y = x.square().sum(-1) / 2, y.square().sum(-1) / 2
    return (squares_x.unsqueeze(-1) + squares_y.unsqueeze(-2) - x @ y.mT).clamp(min=0.0)


def _term(clouds: Clouds, goal: Goal, wanted: Sequence[bool], *, symmetric: bool) -> Solution:
    x, y, a, b = clouds
    settings = Settings(goal.blur**2, goal.tol, goal.max_iter, x.dtype, rho=goal.reach**2)
    couple = _couple_small if is_small(x.shape[1], y.shape[1]) else couple_large
    coupling = couple(clouds, settings, symmetric, wanted[:2])
    (value_a, mass_a, to_a), (value_b, mass_b, to_b) = (_price(f, settings) for f in (coupling.f, coupling.g))
    gradients = [
        (a * mass_a).unsqueeze(-1) * (x - coupling.targets_of_x) if wanted[0] else x.new_empty(0),
        (b * mass_b).unsqueeze(-1) * (y - coupling.targets_of_y) if wanted[1] else y.new_empty(0),
        to_a if wanted[2] else a.new_empty(0),
        to_b if wanted[3] else b.new_empty(0),
    ]
    value = (a * value_a).sum(-1) + (b * value_b).sum(-1)
    return Solution(value, coupling.marginal_error, coupling.iterations, gradients)


def _price(f: Tensor, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """What a potential says: the dual value, the mass that is moved, and the gradient in the weights."""
    if math.isinf(settings.rho):
        return f, torch.ones_like(f), f
    mass = (-f / settings.rho).exp()
    destroyed = -(-f / settings.rho).expm1()
    return (
        (settings.rho + settings.eps / 2) * destroyed,
        mass,
        (settings.rho + settings.eps) * destroyed - settings.eps / 2,
    )


def _minus_half(whole: Solution, own: Solution, first: int) -> Solution:
    """Subtract half a self term; its point stands in both its arguments, so that half its gradient is that of one."""
    gradients = list(whole.gradients)
    for place, part in ((first, own.gradients[0]), (first + 2, own.gradients[2])):
        gradients[place] = gradients[place] - part
    return Solution(
        whole.value - own.value / 2,
        torch.maximum(whole.marginal_error, own.marginal_error),
        torch.maximum(whole.iterations, own.iterations),
        gradients,
    )


def _couple_small(clouds: Clouds, settings: Settings, symmetric: bool, targets: Sequence[bool]) -> Coupling:
    x, y, a, b = clouds
    cost = half_squared_distances(x, y)
    f, g, error, iterations = (solve_symmetric if symmetric else solve)(cost, a, b, settings)
    density = ((f.unsqueeze(-1) + g.unsqueeze(-2) - cost) / settings.eps).clamp_(min=SMALLEST_EXPONENT).exp_()
    empty = x.new_empty(0)
    return Coupling(
        f,
        g,
        error,
        iterations,
        (density @ (b.unsqueeze(-1) * y)) / (density @ b.unsqueeze(-1)) if targets[0] else empty,
        (density.mT @ (a.unsqueeze(-1) * x)) / (density.mT @ a.unsqueeze(-1)) if targets[1] else empty,
    )
