"""Check every Triton kernel against float64 on a GPU, and time it beside geomloss and flash-sinkhorn, in one run.

    python -m benchmarks.gpu_check --write
    python -m benchmarks.gpu_check --cases 1,128,30 --rounds 5

Each method computes the debiased divergence of two clouds (cost |x-y|^2/2, blur 0.1) and its gradient in x. Every
method has a setting that makes it more exact. The first one is taken whose gradient is within 1e-2, or 1e-3, of the
gradient of the torch backend in float64, and it is timed with CUDA events. "graph" replays the backend's call with its
gradient from a CUDA graph. Packages that are not installed are left out:

    pip install triton geomloss flash-sinkhorn

Exit code 0: every check passed; 1: one failed; 2: there is no GPU, or no Triton.
"""

import argparse
import math
import platform
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.sinkhorn.clouds import BLUR, Case, clouds
from pkdot import sinkhorn_divergence
from pkdot.transport import torch_backend, triton_backend
from pkdot.transport.problem import Clouds, Goal

RESULTS = Path("benchmarks/results/gpu_check.md")
CASES = ("1,128,8", "1,128,30", "64,128,30", "1,512,30", "1,2048,30", "1,4096,30", "1,16384,30")
TARGETS = (1e-2, 1e-3)
TOLERANCES = (1.0, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
SCALINGS = (0.5, 0.7, 0.9, 0.95, 0.98, 0.99)
_MAX_ITER = 1000
# One setting is timed no longer than this, in milliseconds.
_LONGEST = 5000.0

Loss = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Check:
    """One comparison with float64."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the error is within its bound; not a number is not."""
        return self.error <= self.bound


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", metavar="P,B,k", default=CASES, help="problems, points, dimension")
    parser.add_argument("--rounds", type=int, default=30, help="of each timing")
    parser.add_argument("--write", type=Path, nargs="?", const=RESULTS, metavar="MD", help=f"default: {RESULTS}")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu_check needs a GPU: torch finds no CUDA here.", file=sys.stderr)
        return 2
    if not triton_backend.available():
        print("gpu_check needs Triton: pip install triton.", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    torch.backends.cuda.matmul.allow_tf32 = False
    checks = [*check_softmins(), *check_solvers()]
    for check in checks:
        print(
            f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.error:.1e} (<= {check.bound:.0e})", flush=True
        )
    rows = []
    for word in arguments.cases:
        problems, points, dimension = (int(part) for part in word.split(","))
        for row in compare(Case(problems, points, dimension), arguments.rounds):
            print(row, flush=True)
            rows.append(row)
    told = report(checks, rows, arguments.rounds)
    print(told)
    if arguments.write:
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        arguments.write.write_text(told, encoding="utf-8")
    return 0 if all(check.passed for check in checks) else 1


def check_softmins() -> list[Check]:
    """Check the streaming kernels: soft minima and targets, in both exact modes of the inner products."""
    from pkdot.transport.kernels import triton_streaming as streaming

    checks = []
    chosen = streaming.PRECISION
    for precision in (chosen, *({"ieee", "tf32x3"} - {chosen})):
        streaming.PRECISION = precision
        for n, m, k in ((1000, 777, 30), (130, 513, 8), (65, 300, 200)):
            x, y, a, b = scattered(2, n, m, k)
            found, targets = streaming.softmin_and_barycentres(
                streaming.side((x / BLUR).float(), a.float()), streaming.side((y / BLUR).float(), b.float()), b.float()
            )
            exponents = b.log().unsqueeze(-2) + b.unsqueeze(-2) - torch.cdist(x, y).square() / (2 * BLUR**2)
            right = exponents.softmax(-1) @ (y / BLUR)
            name = f"{precision}, {n} x {m}, k = {k}"
            checks.append(Check(f"softmin {name}", largest(found + exponents.logsumexp(-1)), 1e-3))
            checks.append(Check(f"targets {name}", largest(targets - right) / largest(right), 1e-4))
    streaming.PRECISION = chosen
    return checks


def check_solvers() -> list[Check]:
    """Check values and gradients of all sizes of the small kernel, and of the streamed solver."""
    checks = []
    for n, m, k in (
        (9, 16, 3),
        (32, 20, 8),
        (64, 50, 8),
        (100, 128, 30),
        (128, 128, 200),
        (256, 200, 30),
        (600, 513, 30),
    ):
        problem = scattered(3, n, m, k)
        goal = Goal(BLUR, math.inf, 1e-4, _MAX_ITER, 3)
        exact = torch_backend.divergence(problem, goal._replace(tol=1e-8, max_iter=10_000), [True] * 4)
        found = triton_backend.divergence(Clouds(*(z.float() for z in problem)), goal, [True] * 4)
        name = f"{n} x {m}, k = {k}"
        checks.append(Check(f"value {name}", largest((found.value - exact.value) / exact.value), 1e-4))
        checks.append(Check(f"marginal error {name}", float(found.marginal_error.max()), goal.tol))
        for letter, got, right, weight in zip(
            "xyab", found.gradients, exact.gradients, (None, None, *problem[2:]), strict=True
        ):
            difference = got.double() - right
            if weight is not None:
                # In the weights up to a constant; where there is none the two may extend it differently.
                there = (weight > 0).double()
                difference, right = (
                    there * (z - (there * z).sum(-1, keepdim=True) / there.sum(-1, keepdim=True))
                    for z in (difference, right)
                )
            checks.append(Check(f"gradient in {letter}, {name}", float(difference.norm() / right.norm()), 1e-3))
    return checks


def scattered(problems: int, n: int, m: int, k: int) -> Clouds:
    """Random clouds in float64; some points have weight 0."""
    generator = torch.Generator().manual_seed(n + m)
    x, y = (torch.randn(problems, size, k, generator=generator) * (0.5 / k**0.5) for size in (n, m))
    weights = []
    for size in (n, m):
        weight = torch.rand(problems, size, generator=generator).add(0.1)
        weight[:, ::7] = 0
        weights.append(weight)
    x, y, a, b = (z.cuda().double() for z in (x, y + 0.05, *weights))
    return Clouds(x, y, a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True))


def largest(z: Tensor) -> float:
    """The largest of some numbers; NaN if one of them is NaN."""
    return float(z.double().abs().max())


def methods() -> dict[str, tuple[Loss, tuple[float, ...]]]:
    """Each method's name, its loss of clouds ``(P, B, k)`` and a setting, and the values of the setting."""
    found: dict[str, tuple[Loss, tuple[float, ...]]] = {"pkdot triton": (_ours, TOLERANCES)}
    if find_spec("geomloss"):
        found["geomloss"] = (_geomloss, SCALINGS)
    if find_spec("flash_sinkhorn"):
        found["flash-sinkhorn"] = (_flash, SCALINGS)
    return found


def _ours(x: Tensor, y: Tensor, tol: float) -> Tensor:
    return sinkhorn_divergence(x, y, blur=BLUR, tol=tol, max_iter=_MAX_ITER, backend="triton")


def _geomloss(x: Tensor, y: Tensor, scaling: float) -> Tensor:
    from geomloss import SamplesLoss

    value: Tensor = SamplesLoss("sinkhorn", p=2, blur=BLUR, scaling=scaling, backend="tensorized")(x, y)
    return value


def _flash(x: Tensor, y: Tensor, scaling: float) -> Tensor:
    from flash_sinkhorn import SamplesLoss

    loss: Any = SamplesLoss("sinkhorn", blur=BLUR, scaling=scaling, debias=True, half_cost=True, allow_tf32=False)
    value: Tensor = loss(x, y) if len(x) > 1 else loss(x[0], y[0])
    return value


def compare(case: Case, rounds: int) -> list[str]:
    """Rows of the table: one for each target."""
    x, y = (z.cuda() for z in clouds(case))
    exact = step(lambda u, v, tol: sinkhorn_divergence(u, v, blur=BLUR, tol=tol, max_iter=10_000, backend="torch"),
                 x.double(), y.double(), 1e-7)  # fmt: skip
    rows = []
    for target in TARGETS:
        cells = []
        for name, (loss, ladder) in methods().items():
            knob, error = walk(loss, ladder, x, y, exact, target)
            if not math.isfinite(error):
                cells += ["failed"] * (2 if name == "pkdot triton" else 1)
                continue
            milliseconds = median(lambda loss=loss, knob=knob: step(loss, x, y, knob), rounds)  # type: ignore[misc]
            missed = "" if error <= target else " not reached:"
            cells.append(f"{milliseconds:.3f} ({knob:g};{missed} {error:.0e})")
            if name == "pkdot triton":
                cells.append(in_graph(x, y, knob, rounds))
        rows.append(f"| {case.name} | {target:g} | {' | '.join(cells)} |")
    return rows


def step(loss: Loss, x: Tensor, y: Tensor, knob: float) -> Tensor:
    """Forward and backward: the gradient in x."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(loss(x, y, knob).sum(), x)[0]


def walk(
    loss: Loss, ladder: tuple[float, ...], x: Tensor, y: Tensor, exact: Tensor, target: float
) -> tuple[float, float]:
    """The first setting that is exact enough, or the most exact one; and its error, infinite if all failed."""
    tried = []
    for knob in ladder:
        try:
            error = float((step(loss, x, y, knob).double() - exact).norm() / exact.norm())
        except (RuntimeError, ValueError) as problem:
            print(f"{loss.__name__} at {knob}: {str(problem).splitlines()[0]}", file=sys.stderr)
            break
        tried.append((error if math.isfinite(error) else math.inf, knob))
        if error <= target:
            return knob, error
    error, knob = min(tried, default=(math.inf, math.inf))
    return knob, error


def median(call: Callable[[], object], rounds: int) -> float:
    """Milliseconds of a call on the GPU, with the launches that it waits for."""
    for _ in range(3):
        call()
    times: list[float] = []
    while len(times) < rounds and sum(times) < _LONGEST:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def in_graph(x: Tensor, y: Tensor, tol: float, rounds: int) -> str:
    """Milliseconds of a replayed graph; None for larger problems, which check their errors on the host."""
    from pkdot.transport.kernels.triton_small import LARGEST

    if x.shape[1] > LARGEST:
        return "-"
    weights = torch.full_like(x[..., 0], 1 / x.shape[1])
    problem, goal = Clouds(x, y, weights, weights), Goal(BLUR, math.inf, tol, _MAX_ITER, 3)
    wanted = [True, False, False, False]
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        eager = triton_backend.divergence(problem, goal, wanted)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = triton_backend.divergence(problem, goal, wanted)
    milliseconds = median(graph.replay, rounds)
    same = largest(replayed.gradients[0] - eager.gradients[0]) <= 1e-6 * largest(eager.gradients[0])
    return f"{milliseconds:.3f}{'' if same else ' DIFFERS FROM EAGER'}"


def report(checks: list[Check], rows: list[str], rounds: int) -> str:
    """All results as Markdown."""
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "triton", "geomloss", "flash-sinkhorn")
        if find_spec(name.replace("-", "_"))
    )  # fmt: skip
    names = list(methods())
    columns = ["problems, points, k", "gradient error", names[0], f"{names[0]}, graph", *names[1:]]
    failed = [check for check in checks if not check.passed]
    lines = [
        "# The Triton backend on a GPU",
        "",
        f"{torch.cuda.get_device_name()}; {packages}; CUDA {torch.version.cuda}; Python {platform.python_version()}. "
        f"Milliseconds, forward and backward, medians of up to {rounds}; in brackets the knob and the gradient's "
        "relative error.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *rows,
        "",
        f"{len(checks) - len(failed)} of {len(checks)} checks against float64 passed.",
        *(f"Failed: {check.name}, {check.error:.1e} above {check.bound:.0e}." for check in failed),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
