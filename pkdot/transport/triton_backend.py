"""Backend ``triton``: balanced divergences between clouds on a GPU, in single precision.

Problems of up to 256 points are solved in one launch, with their gradients; a few more add up their terms. There is no
wait for the GPU and no allocation that depends on the data, so that the call can be captured in a CUDA graph. That
needs one call before, with the same shapes, dtypes and wanted gradients, which compiles the kernel; and inputs that
stay where they are. Larger problems are streamed, and look at their errors on the host every few sweeps.

In small problems, points that are not finite are not found: that would need such a wait. Their values are NaN and their
errors infinite. Triton is imported with the first problem.

Every torch brings a Triton of its own; benchmarks/results/triton_versions.md says which were tried. Where the kernels
do not run, ``auto`` goes on with the backend torch.
"""

import importlib.util
import os
import warnings
from collections.abc import Sequence

import torch

from pkdot.transport import torch_backend
from pkdot.transport.problem import Clouds, Goal, Solution

# Why the kernels do not run here, once that is known: nobody waits for a compiler that fails a second time.
_failures: list[Exception] = []


def available() -> bool:
    """Whether Triton is installed, and a CUDA device or its interpreter (``TRITON_INTERPRET=1``) is there."""
    interpreted = os.environ.get("TRITON_INTERPRET", "0") == "1"
    return importlib.util.find_spec("triton") is not None and (interpreted or torch.cuda.is_available())


def divergence(clouds: Clouds, goal: Goal, wanted: Sequence[bool]) -> Solution:
    """Divergences of P balanced problems: a :data:`pkdot.transport.problem.Backend`."""
    from pkdot.transport.kernels.triton_small import LARGEST

    if max(clouds.x.shape[1], clouds.y.shape[1]) <= LARGEST:
        return _small(clouds, goal, wanted)
    from pkdot.transport.kernels.triton_streaming import couple_streamed

    return torch_backend.divergence(clouds, goal, wanted, couple_streamed)


def divergence_or_torch(clouds: Clouds, goal: Goal, wanted: Sequence[bool]) -> Solution:
    """As :func:`divergence`, but by the backend torch from where a kernel did not run.

    Warns:
        RuntimeWarning: it did not, the first time.
    """
    if not _failures:
        try:
            return divergence(clouds, goal, wanted)
        except (ValueError, torch.OutOfMemoryError):  # wrong points, or too many: no fault of the kernels
            raise
        except Exception as failure:  # Triton has no common error: no compiler, no driver, words that it does not know
            _failures.append(failure)
            warnings.warn(
                "optimal transport is solved by the backend torch, more slowly: the installed triton does not run the "
                f"kernels here ({_reason(failure)}).",
                RuntimeWarning,
                stacklevel=6,
            )
    return torch_backend.divergence(clouds, goal, wanted)


def _reason(failure: BaseException) -> str:
    """One line: errors of the compiler show code first, and are raised from each other, the true one at the end."""
    while failure.__cause__ is not None:
        failure = failure.__cause__
    return ": ".join([type(failure).__name__, *str(failure).strip().splitlines()[-1:]])


def _small(clouds: Clouds, goal: Goal, wanted: Sequence[bool]) -> Solution:
    from pkdot.transport.kernels.triton_small import solve_small

    dtype = torch.float64 if any(z.dtype == torch.float64 for z in clouds) else torch.float32
    terms = solve_small(Clouds(*(z.to(dtype).contiguous() for z in clouds)), goal, wanted)
    # Half a self term, whose point stands in both its arguments, has the gradient of one of them.
    gradients = [
        z.new_empty(0) if not want else z[0] - z[1] if goal.terms > self_term else z[0]
        for z, want, self_term in zip(terms.gradients, wanted, (1, 2, 1, 2), strict=True)
    ]
    values = terms.values
    value = values[0] - values[1:].sum(0) / 2 if goal.terms > 1 else values[0]
    return Solution(value, terms.errors.amax(0), terms.iterations.amax(0).long(), gradients)
