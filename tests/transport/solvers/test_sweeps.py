"""The one loop of sweeps, with soft minima from different places."""

import math

import pytest
import torch
from torch import Tensor

from pkdot.transport.problem import Clouds, Goal, Softmins
from pkdot.transport.solvers.large import _Kernel
from pkdot.transport.solvers.matrix import MatrixProblems
from pkdot.transport.solvers.sweeps import annealed, iterate
from pkdot.transport.torch_backend import half_squared_distances

GOAL = Goal(blur=0.3, reach=math.inf, tol=1e-9, max_iter=200)


def clouds(*scales: float) -> Clouds:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(1, n, 3, generator=generator, dtype=torch.float64) for n in (7, 5))
    spread = torch.tensor(scales, dtype=torch.float64)[:, None, None]
    a, b = (torch.full((len(scales), n), 1 / n, dtype=torch.float64) for n in (7, 5))
    return Clouds(spread * x, spread * y, a, b)


def matrices(problems: Clouds) -> MatrixProblems:
    return MatrixProblems(half_squared_distances(*problems[:2]) / GOAL.eps, *problems[2:])


def test_potentials_do_not_depend_on_where_the_soft_minima_come_from() -> None:
    one = clouds(0.3)
    kernel = _Kernel(one, GOAL)
    found: list[tuple[Softmins, Tensor]] = [(matrices(one), torch.zeros_like(one.b)), (kernel, kernel.start(False))]
    from_matrix, from_kernel = (iterate(softmins, start, one.b, GOAL) for softmins, start in found)
    assert max(from_matrix.marginal_error, from_kernel.marginal_error) <= GOAL.tol
    for ours, theirs in zip(from_matrix[:2], from_kernel[:2], strict=True):
        torch.testing.assert_close(ours - ours[:, :1], theirs - theirs[:, :1], rtol=0, atol=1e-7)


def test_a_problem_that_has_converged_leaves_and_its_neighbours_change_nothing() -> None:
    several = clouds(0.1, 1.0, 0.3)
    together = iterate(matrices(several), torch.zeros_like(several.b), several.b, GOAL)
    assert len(set(together.iterations.tolist())) == 3
    for number in range(3):
        alone = Clouds(*(z[number : number + 1] for z in several))
        single = iterate(matrices(alone), torch.zeros_like(alone.b), alone.b, GOAL)
        for batched, own in zip(together, single, strict=True):
            torch.testing.assert_close(batched[number], own[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("patience", [1, 4])
def test_errors_are_looked_at_as_rarely_as_asked_for(patience: int) -> None:
    one = clouds(0.3)
    found = iterate(matrices(one), torch.zeros_like(one.b), one.b, GOAL, patience=patience)
    assert found.marginal_error <= GOAL.tol
    assert found.iterations % patience == 0


def test_the_free_constant_of_the_potentials_does_not_drift() -> None:
    one = clouds(0.3)
    found = iterate(matrices(one), torch.zeros_like(one.b), one.b, GOAL)
    assert (one.b * found.g).sum().abs() <= 1e-9
    assert (one.a * found.f).sum() > 1


def test_where_the_plan_takes_points_does_not_depend_on_the_kernel_at_hand() -> None:
    one = clouds(0.3)
    kernel = _Kernel(one, GOAL)
    solution = iterate(kernel, kernel.start(False), one.b, GOAL)
    expected = kernel.barycentres(solution.f, solution.g, [True, True])
    # The same plan: only the constants have moved, out of the range of the kernel.
    far = kernel.barycentres(solution.f - 300, solution.g + 300, [True, True])
    for got, want in zip(far, expected, strict=True):
        torch.testing.assert_close(got, want)


def test_a_problem_of_nan_ends_at_once_and_says_so() -> None:
    several = clouds(0.3, math.nan)
    found = iterate(matrices(several), torch.zeros_like(several.b), several.b, GOAL)
    assert found.iterations[1] == 1
    assert found.marginal_error.isnan().tolist() == [False, True]


def test_annealing_ends_before_the_final_temperature() -> None:
    seen: list[float] = []

    def at(g: Tensor, temperature: float) -> Tensor:
        seen.append(temperature)
        return g + 1

    assert annealed(at, torch.zeros(1), 5.0, 2.0) == 3
    assert seen == [5.0, 2.5, 1.25]
    assert annealed(at, torch.zeros(1), 1.0, 2.0) == 0
