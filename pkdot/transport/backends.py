"""Who solves a problem: the backends by name, and which of them is the fastest here."""

from torch import Tensor

from pkdot.transport import clouds, native
from pkdot.transport.problem import Backend

BACKENDS = ("auto", "torch", "native")

# The extension keeps a matrix for each thread; torch keeps one, and every core works on it.
_LARGEST_NATIVE = 4096 * 4096


def pick(name: str, x: Tensor, y: Tensor, *, balanced: bool) -> Backend:
    """The backend of that name, or the fastest one for these clouds.

    Raises:
        ValueError: there is no such backend, or it cannot do this here.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend is {name!r}; expected one of {', '.join(BACKENDS)}.")
    obstacle = _against_native(x, balanced=balanced)
    if name == "native" and obstacle:
        raise ValueError(f"backend is 'native', {obstacle}; expected auto or torch.")
    small = x.shape[-2] * y.shape[-2] <= _LARGEST_NATIVE
    if name == "native" or (name == "auto" and small and not obstacle):
        return native.divergence
    return clouds.divergence


def _against_native(x: Tensor, *, balanced: bool) -> str:
    if not native.available():
        return "which was not built on installation: that needs a C compiler"
    if x.device.type != "cpu":
        return f"which runs on CPU, for points on {x.device.type}"
    return "" if balanced else "which moves all mass, with a finite reach"
