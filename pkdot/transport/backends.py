"""Who solves a problem: the backends by name, and which of them is the fastest here."""

from torch import Tensor

from pkdot.transport import native_backend as native
from pkdot.transport import torch_backend as clouds
from pkdot.transport import triton_backend
from pkdot.transport.problem import Backend

BACKENDS = ("auto", "torch", "native", "triton")

# The extension keeps a matrix for each thread; torch keeps one, and every core works on it.
_LARGEST_NATIVE = 4096 * 4096
# The marginal error that the kernels on the GPU reach in single precision.
_SINGLE_TOL = 2e-5


def pick(name: str, x: Tensor, y: Tensor, *, balanced: bool, tol: float) -> Backend:
    """The backend of that name, or the fastest one for these clouds.

    Raises:
        ValueError: there is no such backend, or it cannot do this here.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend is {name!r}; expected one of {', '.join(BACKENDS)}.")
    on_cpu = x.device.type == "cpu"
    if name == "auto" and on_cpu and native.available() and balanced:
        return native.divergence if x.shape[-2] * y.shape[-2] <= _LARGEST_NATIVE else clouds.divergence
    if name == "auto" and x.device.type == "cuda" and triton_backend.available() and balanced and tol >= _SINGLE_TOL:
        return triton_backend.divergence_or_torch
    if name in ("auto", "torch"):
        return clouds.divergence
    if not balanced:
        raise ValueError(f"backend is {name!r}, which moves all mass, with a finite reach; expected auto or torch.")
    if name == "triton":
        if not triton_backend.available():
            raise ValueError("backend is 'triton', which needs triton and a CUDA device; expected auto or torch.")
        return triton_backend.divergence
    if not native.available():
        raise ValueError("backend is 'native', which was not built: that needs a C compiler; expected auto or torch.")
    if not on_cpu:
        raise ValueError(f"backend is 'native', for points on {x.device.type}; expected auto, torch or triton.")
    return native.divergence
