"""Backend ``native``: the same mathematics in C, for CPU. Small problems cost torch more overhead than arithmetic.

The extension is built on installation if there is a C compiler; everything works without it. Problems that its sweeps
do not finish are solved by the backend ``torch``, which has Newton's method.
"""

from collections.abc import Sequence

import torch

from pkdot.transport import torch_backend
from pkdot.transport.constants import MARGIN, SINGLE_TOL
from pkdot.transport.problem import Clouds, Goal, Solution

try:
    from pkdot.transport.kernels import _native
except ImportError:
    _native = None  # type: ignore[assignment]

# A problem that takes more sweeps is one for Newton.
_MOST_SWEEPS = 300
# With fewer entries of the cost matrices threads cost more than they bring: one may have to wait for a free core.
_WORTH_A_THREAD = 3 * 100 * 100


def available() -> bool:
    """Whether the extension was built."""
    return _native is not None


def divergence(clouds: Clouds, goal: Goal, wanted: Sequence[bool]) -> Solution:
    """Divergences of P balanced problems on CPU: a :data:`pkdot.transport.problem.Backend`."""
    inputs = [z.double().contiguous() for z in clouds]
    (problems, n, k), m = inputs[0].shape, inputs[1].shape[1]
    tol = goal.tol / MARGIN
    results = torch.empty(2, goal.terms, problems, dtype=torch.float64)
    iterations = torch.empty(goal.terms, problems, dtype=torch.int64)
    # A cloud stands in two terms: the first one's gradient, and the second one's with its sign.
    terms = (min(goal.terms, 2), max(goal.terms - 1, 1)) * 2
    gradients = [
        z.new_empty(count if want else 0, *z.shape) for count, z, want in zip(terms, inputs, wanted, strict=True)
    ]
    x, y, a, b = (z.data_ptr() for z in inputs)
    to_x, to_y, to_a, to_b = (z.data_ptr() if want else 0 for z, want in zip(gradients, wanted, strict=True))
    _native.solve_terms(
        x,
        y,
        a,
        b,
        problems,
        n,
        m,
        k,
        goal.terms,
        tol < SINGLE_TOL,
        goal.blur,
        tol,
        min(goal.max_iter, _MOST_SWEEPS),
        torch.get_num_threads() if problems * goal.terms * n * m >= _WORTH_A_THREAD else 1,
        results[0].data_ptr(),
        results[1].data_ptr(),
        iterations.data_ptr(),
        to_x,
        to_y,
        to_a,
        to_b,
    )
    solution = Solution(results[0, 0], results[1, 0], iterations[0], [z[0] if len(z) else z for z in gradients])
    if goal.max_iter > _MOST_SWEEPS and float(solution.marginal_error.max()) > goal.tol:
        stuck = solution.marginal_error > goal.tol
        _replace(solution, stuck, torch_backend.divergence(Clouds(*(z[stuck] for z in inputs)), goal, wanted))
    return solution


def _replace(solution: Solution, problems: torch.Tensor, better: Solution) -> None:
    solution.value[problems], solution.marginal_error[problems] = better.value, better.marginal_error
    solution.iterations[problems] = better.iterations
    for old, new in zip(solution.gradients, better.gradients, strict=True):
        if new.numel():
            old[problems] = new
