"""Who solves a problem: the backends by name, and which of them is the fastest here."""

from pkdot.transport import native_backend as native
from pkdot.transport import pot_backend, torch_backend, triton_backend
from pkdot.transport.constants import SINGLE_TOL
from pkdot.transport.problem import Backend, Goal

BACKENDS = ("auto", "torch", "native", "triton", "pot")

# The extension keeps a matrix for each thread; torch keeps one, and every core works on it.
_LARGEST_NATIVE = 4096 * 4096


def pick(name: str, goal: Goal, *, device: str, entries: int) -> Backend:
    """The backend of that name, or the fastest one here.

    >>> pick("torch", Goal(blur=0.1, reach=1.0, tol=1e-3, max_iter=100), device="cpu", entries=100).__module__
    'pkdot.transport.torch_backend'

    Args:
        name: one of ``BACKENDS``.
        goal: what is computed.
        device: type of the device that holds the points.
        entries: of one cost matrix.

    Raises:
        ValueError: there is no such backend, or it cannot do this here.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend is {name!r}; expected one of {', '.join(BACKENDS)}.")
    if name == "auto":
        return _fastest(goal, device, entries)
    if name != "torch" and not goal.balanced:
        raise ValueError(f"backend is {name!r}, which moves all mass, with a finite reach; expected auto or torch.")
    if name == "pot":
        return pot_backend.divergence
    if goal.blur == 0:
        raise ValueError(
            f"blur is 0, transport without entropy, which backend {name!r} cannot solve; expected backend 'pot', or a "
            "blur above 0."
        )
    if name == "torch":
        return torch_backend.divergence
    if name == "triton":
        if not triton_backend.available():
            raise ValueError("backend is 'triton', which needs triton and a CUDA device; expected auto or torch.")
        return triton_backend.divergence
    if not native.available():
        raise ValueError("backend is 'native', which was not built: that needs a C compiler; expected auto or torch.")
    if device != "cpu":
        raise ValueError(f"backend is 'native', for points on {device}; expected auto, torch or triton.")
    return native.divergence


def _fastest(goal: Goal, device: str, entries: int) -> Backend:
    if goal.blur == 0:
        if device != "cpu" or not goal.balanced:
            raise ValueError(
                f"blur is 0, transport without entropy, for points on {device} and with reach {goal.reach:g}; expected "
                "points on the CPU, or backend 'pot', which copies them, and no reach."
            )
        return pot_backend.divergence
    if device == "cpu" and native.available() and goal.balanced and entries <= _LARGEST_NATIVE:
        return native.divergence
    if device == "cuda" and triton_backend.available() and goal.balanced and goal.tol >= SINGLE_TOL:
        return triton_backend.divergence_or_torch
    return torch_backend.divergence
