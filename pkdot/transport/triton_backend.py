"""Backend ``triton``: balanced divergences between clouds on a GPU, in single precision.

Problems of up to 256 points are solved in one launch, gradients included; a few small launches add up their terms. The
call never waits for the GPU, and no allocation depends on the data: it can be captured in a CUDA graph. For that, call
it once before with the same shapes, dtypes and wanted gradients, so that the kernel is compiled, and keep the inputs in
the same memory. Larger problems are streamed: every few sweeps the host looks at their errors.

Points of small problems are not checked, as the check would wait for the GPU. If some are not finite, the values are
NaN and the errors infinite. Triton is imported with the first problem.

Every torch brings its own Triton; benchmarks/results/triton_versions.md lists the versions that were tried. If the
kernels do not run, ``auto`` uses the backend torch.
"""

import importlib.util
import os
import warnings
from collections.abc import Sequence

import torch

from pkdot.transport import torch_backend
from pkdot.transport.problem import Clouds, Goal, Solution

# Why the kernels do not run here, once that is known: a compiler that failed is not tried again.
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
    """As :func:`divergence`; by the backend torch once a kernel did not run.

    Warns:
        RuntimeWarning: the first time that a kernel does not run.
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
