r"""Backend ``torch``: divergences between clouds, on any device, from the terms that the solvers solve.

Each term of a divergence is an entropic OT problem, balanced or, with a finite reach :math:`\sqrt\rho`, unbalanced
(Séjourné et al., 2019). Its value and gradients follow from its potentials and from where its plan takes the points:

.. math::
    \langle a, \phi(f) \rangle + \langle b, \phi(g) \rangle, \qquad
    \partial x_i = a_i \mu_i (x_i - \bar y_i), \qquad \partial a_i = \phi'(f_i),

with the mass :math:`\mu_i = \sum_j P_{ij} / a_i` that leaves :math:`x_i` and its barycentre :math:`\bar y_i`. Where
all mass is moved, :math:`\mu = 1` and :math:`\phi(f) = \phi'(f) = f`; else :math:`\mu = e^{-f / \rho}`,
:math:`\phi(f) = (\rho + \varepsilon / 2)(1 - \mu)` and :math:`\phi'(f) = (\rho + \varepsilon)(1 - \mu) -
\varepsilon / 2`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pkdot.transport.constants import SMALLEST_EXPONENT
from pkdot.transport.problem import Clouds, Couple, Coupling, Goal, Solution, check_finite
from pkdot.transport.solvers.large import couple_large
from pkdot.transport.solvers.sinkhorn import is_small, solve


def divergence(clouds: Clouds, goal: Goal, wanted: Sequence[bool], couple: Couple | None = None) -> Solution:
    """Divergences of P problems: a :data:`pkdot.transport.problem.Backend`, by any solver of their terms."""
    check_finite(clouds.x, clouds.y)
    points, weights = [finest(z) for z in clouds[:2]], [finest(z) for z in clouds[2:]]
    # Near the origin single precision has more digits. Balanced transport sees a shift of one cloud in its mean alone.
    centres = [w.unsqueeze(-2) @ z for w, z in zip(weights, points, strict=True)]
    if not goal.balanced:
        centres = [(centres[0] + centres[1]) / 2] * 2
    points, between = [z - centre for z, centre in zip(points, centres, strict=True)], centres[0] - centres[1]
    couple = couple or (couple_small if is_small(*(z.shape[1] for z in points)) else couple_large)

    value, errors, iterations = between.square().sum((-2, -1)) / 2, [], []
    gradients = [sign * w.unsqueeze(-1) * between for sign, w in zip((1, -1), weights, strict=True)]
    gradients += [sign * (z @ between.mT).squeeze(-1) for sign, z in zip((1, -1), points, strict=True)]
    for first, second in ((0, 1), (0, 0), (1, 1))[: goal.terms]:
        symmetric = first == second
        own = Clouds(points[first], points[second], weights[first], weights[second])
        found, *barycentres = couple(own, goal, symmetric, [wanted[first], wanted[second] and not symmetric])
        errors.append(found.marginal_error)
        iterations.append(found.iterations)
        for place, side in enumerate((first, second)):
            worth, mass, to_weights = _price(found[place], goal)
            value = value + (-0.5 if symmetric else 1.0) * (weights[side] * worth).sum(-1)
            if symmetric and place == 1:
                continue  # a point stands in both arguments: half the term has the gradient of one of them
            sign = -1.0 if symmetric else 1.0
            if wanted[side]:
                move = (weights[side] * mass).unsqueeze(-1) * (points[side] - barycentres[place])
                gradients[side] = gradients[side] + sign * move
            gradients[side + 2] = gradients[side + 2] + sign * to_weights
    gradients = [z if want else z.new_empty(0) for z, want in zip(gradients, wanted, strict=True)]
    return Solution(value, torch.stack(errors).amax(0), torch.stack(iterations).amax(0), gradients)


def couple_small(clouds: Clouds, goal: Goal, symmetric: bool, barycentres: Sequence[bool]) -> Coupling:
    """Solve P problems with their cost matrices: a :data:`pkdot.transport.problem.Couple`."""
    x, y, a, b = clouds
    cost = half_squared_distances(x, y)
    found = solve(cost, a, b, goal, symmetric=symmetric)
    density = ((found.f.unsqueeze(-1) + found.g.unsqueeze(-2) - cost) / goal.eps).clamp_(min=SMALLEST_EXPONENT).exp_()
    empty = x.new_empty(0)
    return Coupling(
        found,
        (density @ (b.unsqueeze(-1) * y)) / (density @ b.unsqueeze(-1)) if barycentres[0] else empty,
        (density.mT @ (a.unsqueeze(-1) * x)) / (density.mT @ a.unsqueeze(-1)) if barycentres[1] else empty,
    )


def finest(z: Tensor) -> Tensor:
    """Convert to double precision if the device has it."""
    # A cost is divided by eps, small, before it is exponentiated: float32 would round away what tells plans apart.
    return z.float() if z.device.type == "mps" else z.double()


def half_squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """``(*, N, k)`` and ``(*, M, k)`` points to ``(*, N, M)`` costs."""
    squares_x, squares_y = x.square().sum(-1) / 2, y.square().sum(-1) / 2
    return (squares_x.unsqueeze(-1) + squares_y.unsqueeze(-2) - x @ y.mT).clamp(min=0.0)


def _price(f: Tensor, goal: Goal) -> tuple[Tensor, Tensor, Tensor]:
    """What a potential says: the dual value, the mass that is moved, and the gradient in the weights."""
    if goal.balanced:
        return f, torch.ones_like(f), f
    mass, destroyed = (-f / goal.rho).exp(), -(-f / goal.rho).expm1()
    return (goal.rho + goal.eps / 2) * destroyed, mass, (goal.rho + goal.eps) * destroyed - goal.eps / 2
