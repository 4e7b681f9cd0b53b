"""The methods that are compared: each turns two clouds into a value and a gradient, as exactly as its knob says."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.sinkhorn.clouds import BLUR, EPS, Case, clouds
from pkdot.transport.divergence import BACKENDS, sinkhorn_divergence

TOLERANCES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6)
# It is solved beyond its tolerance: below the peers' first rung there are cheaper ones.
OUR_TOLERANCES = (1.0, 3e-1, *TOLERANCES)
SCALINGS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998)
OURS = "pkdot"
# POT is stopped by the time limit, the loops of a compiled program only by their number.
_POT_ITERATIONS = 100_000
_OTT_ITERATIONS = (2000, 20_000)

Call = Callable[[float], tuple[Any, Any]]
Transport = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Prepared:
    """A method that holds its two clouds.

    Attributes:
        call: knob to value and gradient, complete when it returns.
        compile_seconds: spent once for this shape, before.
    """

    call: Call
    compile_seconds: float = 0.0


@dataclass(frozen=True)
class Method:
    """One way to call one package.

    Attributes:
        peer: the package, a column of the tables.
        variant: which of its ways; the tables show the fastest that is exact enough.
        knob: name of what sets its accuracy.
        ladder: values of the knob, from cheap to exact.
        prepare: makes it hold two clouds ``(N, B, k)``.
    """

    peer: str
    variant: str
    knob: str
    ladder: tuple[float, ...]
    prepare: Callable[[Tensor, Tensor], Prepared]

    @property
    def name(self) -> str:
        """Package and variant."""
        return f"{self.peer} {self.variant}".strip()

    @property
    def is_ours(self) -> bool:
        """Whether it is a backend of pkdot."""
        return self.peer.startswith(OURS)


@dataclass(frozen=True)
class Peer:
    """A package to compare with: its names in the tables, where it is installed from and where it is imported."""

    label: str
    package: str
    module: str
    methods: Callable[[], list[Method]]
    needs_cuda: bool = False


def all_methods(device: str = "cpu", only: str = "") -> tuple[list[Method], list[str]]:
    """Every method that can run here, or that of one name, and a line for each package that cannot."""
    methods, absent = [], []
    for peer in PEERS:
        if not only or only.startswith(peer.label):
            if peer.needs_cuda and device == "cpu":
                absent.append(f"{peer.package} runs on CUDA only.")
            elif find_spec(peer.module) is None:
                absent.append(f"{peer.package} is not installed.")
            else:
                methods += peer.methods()
    for backend in BACKENDS:
        method = Method(f"{OURS} {backend}", "", "tol", OUR_TOLERANCES, on_torch(_ours(backend)))
        if backend in ("auto", "pot") or only not in ("", method.name):
            continue
        try:
            method.prepare(*(z.to(device) for z in clouds(Case(1, 8, 4)))).call(1e-2)
        except (ValueError, RuntimeError) as error:
            absent.append(f"{method.name} is not available: {str(error).splitlines()[0]}")
        else:
            methods.append(method)
    return [method for method in methods if only in ("", method.name)], absent


def versions() -> dict[str, str]:
    """Installed versions of everything that is compared."""
    return {peer.package: version(peer.package) for peer in PEERS if find_spec(peer.module) is not None}


def to_tensor(result: Any) -> Tensor:
    """A result of any of the packages, in float64 on the CPU."""
    return result.detach().double().cpu() if isinstance(result, Tensor) else torch.from_numpy(np.array(result)).double()


def on_torch(loss: Callable[[Tensor, Tensor, float], Tensor]) -> Callable[[Tensor, Tensor], Prepared]:
    """A method from a differentiable function of two clouds and the knob."""

    def prepare(x: Tensor, y: Tensor) -> Prepared:
        student = x.detach().clone().requires_grad_()

        def call(knob: float) -> tuple[Tensor, Tensor]:
            value = loss(student, y, knob)
            (gradient,) = torch.autograd.grad(value.sum(), student)
            if gradient.is_cuda:
                torch.cuda.synchronize()
            return value.detach(), gradient

        return Prepared(call)

    return prepare


def _debiased(transport: Transport, x: Tensor, y: Tensor) -> Tensor:
    return transport(x, y) - (transport(x, x) + transport(y, y)) / 2


def _ours(backend: str) -> Callable[[Tensor, Tensor, float], Tensor]:
    def loss(x: Tensor, y: Tensor, knob: float) -> Tensor:
        return sinkhorn_divergence(x, y, blur=BLUR, tol=knob, backend=backend)

    return loss


def _geomloss() -> list[Method]:
    from geomloss import SamplesLoss

    def loss(x: Tensor, y: Tensor, knob: float) -> Tensor:
        divergence = SamplesLoss("sinkhorn", p=2, blur=BLUR, scaling=knob, backend="tensorized")
        values: Tensor = divergence(x, y)
        return values

    return [Method("geomloss", "", "scaling", SCALINGS, on_torch(loss))]


def _pot() -> list[Method]:
    import ot

    def batched(x: Tensor, y: Tensor, knob: float) -> Tensor:
        # With grad="envelope" it records every iteration for autograd, gigabytes for large clouds: its plan is taken
        # without gradient, and the envelope by hand.
        def transport(p: Tensor, q: Tensor) -> Tensor:
            cost = ot.batch.dist_batch(p, q) / 2
            settings = {"reg": EPS, "reg_type": "kl", "grad": "detach", "tol": knob, "max_iter": _POT_ITERATIONS}
            solved = ot.batch.solve_batch(cost.detach(), **settings)
            moved: Tensor = (solved.plan * cost).sum((-2, -1))
            values: Tensor = moved + (solved.value - moved).detach()
            return values

        return _debiased(transport, x, y)

    def single(x: Tensor, y: Tensor, knob: float) -> Tensor:
        def transport(p: Tensor, q: Tensor) -> Tensor:
            settings = {"reg": EPS, "reg_type": "KL", "method": "sinkhorn_log", "grad": "envelope"}
            values: Tensor = ot.solve(ot.dist(p, q) / 2, **settings, tol=knob, max_iter=_POT_ITERATIONS).value
            return values

        return torch.stack([_debiased(transport, p, q) for p, q in zip(x, y, strict=True)])

    return [
        Method("POT", "batch", "tol", TOLERANCES, on_torch(batched)),
        Method("POT", "solve", "tol", TOLERANCES, on_torch(single)),
    ]


def _ott() -> list[Method]:
    return [
        Method("OTT-JAX", "default", "threshold", TOLERANCES, _ott_prepare(None)),
        Method("OTT-JAX", "momentum 1.5", "threshold", TOLERANCES, _ott_prepare(1.5)),
    ]


def _ott_prepare(momentum: float | None) -> Callable[[Tensor, Tensor], Prepared]:
    import jax
    import jax.numpy as jnp
    from ott.geometry.pointcloud import PointCloud
    from ott.solvers.linear.acceleration import Momentum
    from ott.tools.sinkhorn_divergence import sinkhorn_divergence as ott_divergence

    fewest, most = _OTT_ITERATIONS
    # Neither is typed.
    relaxation: Callable[..., Any] = Momentum
    finished: Callable[[Any], Any] = jax.block_until_ready

    def prepare(x: Tensor, y: Tensor) -> Prepared:
        shape = x.shape[0] * x.shape[1] * y.shape[1]
        settings: dict[str, Any] = {"max_iterations": min(max(2 * 10**9 // shape, fewest), most)}
        if momentum is not None:
            settings["momentum"] = relaxation(value=momentum)

        def one(p: Any, q: Any, threshold: Any) -> Any:
            # Of the whole squared distance at twice eps, half of which is ours.
            solver = settings | {"threshold": threshold}
            return ott_divergence(PointCloud, x=p, y=q, epsilon=2 * EPS, solve_kwargs=solver)[0] / 2

        def total(p: Any, q: Any, threshold: Any) -> Any:
            if p.shape[0] == 1:
                values = one(p[0], q[0], threshold)[None]
            else:
                values = jax.vmap(one, in_axes=(0, 0, None))(p, q, threshold)
            return values.sum(), values

        own_x, own_y = (jnp.asarray(z.detach().cpu().numpy()) for z in (x, y))
        start = time.perf_counter()
        program = jax.jit(jax.value_and_grad(total, has_aux=True)).lower(own_x, own_y, jnp.float32(0.1)).compile()
        compiled = time.perf_counter() - start

        def call(knob: float) -> tuple[Any, Any]:
            (_, values), gradient = finished(program(own_x, own_y, jnp.float32(knob)))
            return values, gradient

        return Prepared(call, compiled)

    return prepare


def _flash() -> list[Method]:
    from flash_sinkhorn import SamplesLoss

    def with_precision(tf32: bool) -> Callable[[Tensor, Tensor, float], Tensor]:
        def loss(x: Tensor, y: Tensor, knob: float) -> Tensor:
            divergence = SamplesLoss("sinkhorn", blur=BLUR, scaling=knob, debias=True, half_cost=True, allow_tf32=tf32)
            values: Tensor = divergence(x, y) if x.shape[0] > 1 else divergence(x[0], y[0]).reshape(1)
            return values

        return loss

    return [
        Method("flash-sinkhorn", name, "scaling", SCALINGS, on_torch(with_precision(tf32)))
        for name, tf32 in (("TF32", True), ("float32", False))
    ]


PEERS = (
    Peer("geomloss", "geomloss", "geomloss", _geomloss),
    Peer("POT", "POT", "ot", _pot),
    Peer("OTT-JAX", "ott-jax", "ott", _ott),
    Peer("flash-sinkhorn", "flash-sinkhorn", "flash_sinkhorn", _flash, needs_cuda=True),
)
