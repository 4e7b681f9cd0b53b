"""The Triton backend, by Triton's interpreter where there is no GPU: tiny problems against float64."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
KINDS = ("small", "streaming")
TOL = 1e-4

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")

# It runs in a process of its own: triton reads TRITON_INTERPRET when it is imported, here other tests may have done so.
CHILD = '''
import json, math, sys
import torch
from packaging.version import Version
import triton
from triton.runtime import interpreter
from pkdot.transport import triton_backend
from pkdot.transport.kernels import triton_small
from pkdot.transport.problem import Clouds, Goal


def patch_lang_tensor(tensor, *scope, original=interpreter._patch_lang_tensor):
    original(tensor, *scope)
    tensor.__index__ = lambda self: self.handle.data.item()


if Version(triton.__version__) < Version("3.7"):
    # These interpreters take the bound of a loop from an array of one number, which numpy 2.4 refuses.
    interpreter._patch_lang_tensor = patch_lang_tensor

torch.set_num_threads(1)
BLUR, TOL = 0.1, 1e-4
WANTED = [True] * 4


def potentials(x, y, a, b, symmetric, sweeps=4000):
    """Log-domain Sinkhorn in float64, for one problem; self terms by averages."""
    cost, eps = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square() / 2, BLUR**2
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    for _ in range(sweeps):
        new = -eps * torch.logsumexp(b.log() + (g - cost) / eps, -1)
        if symmetric:
            g = f = (f + new) / 2
            done = (f - new).abs().max() < 1e-12
        else:
            f, last = new, g
            g = -eps * torch.logsumexp(a.log() + (f - cost.T) / eps, -1)
            done = (g - last).abs().max() < 1e-12
        if done:
            break
    mass = a[:, None] * b
    return f, g, torch.where(mass > 0, mass * ((f[:, None] + g - cost) / eps).exp(), 0.0)


def reference(x, y, a, b, terms):
    """Value and gradients of one problem."""
    f, g, plan = potentials(x, y, a, b, False)
    value = a @ f + b @ g
    dx, dy = plan.sum(1, keepdim=True) * x - plan @ y, plan.sum(0)[:, None] * y - plan.T @ x
    da, db = f, g
    if terms >= 2:
        own, _, plan = potentials(x, x, a, a, True)
        value, dx, da = value - a @ own, dx - plan.sum(1, keepdim=True) * x + plan @ x, da - own
    if terms == 3:
        own, _, plan = potentials(y, y, b, b, True)
        value, dy, db = value - b @ own, dy - plan.sum(1, keepdim=True) * y + plan @ y, db - own
    return value, [dx, dy, da, db]


def cloud(n, k, scale=0.2, seed=0):
    points = torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (points * scale).float().double()


def uniform(x):
    return torch.full(x.shape[:1], 1 / len(x), dtype=torch.float64)


def histogram(n, zeros, seed):
    weights = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    weights[zeros] = 0
    return weights / weights.sum()


def solve(problems, terms, wanted=WANTED, max_iter=300, tol=TOL):
    clouds = Clouds(*(torch.stack(part) for part in zip(*problems)))
    return triton_backend.divergence(clouds, Goal(BLUR, math.inf, tol, max_iter, terms), wanted)


def moved(gradient, weights, everywhere):
    """Gradients in the weights mean something up to a constant; far away, only where there is weight."""
    weights = weights > 0
    return (gradient if everywhere else gradient[weights]) - gradient[weights].mean()


def compare(problem, terms):
    x, y, a, b = problem
    # Of more points than a tile: what follows them in memory is the next problem, and has weight.
    solution = solve([problem] * (2 if len(x) > 16 else 1), terms)
    near = max(x.abs().max(), y.abs().max()) < 100
    value, gradients = reference(*problem, terms)
    errors = {"value": float((solution.value[0] - value).abs())}
    for name, got, right, weight in zip("xyab", solution.gradients, gradients, (None, None, a, b)):
        # Potentials are known to about 1e-5: what is left of those of identical clouds depends on the build of torch.
        got, least = got[0].double(), 1e-2 if weight is None else 5e-2
        if weight is not None:
            got, right = moved(got, weight, near), moved(right, weight, near)
        errors[name] = float((got - right).norm() / right.norm().clamp(min=least))
    errors["finite"] = float(all(g.isfinite().all() for g in solution.gradients))
    errors["marginal"] = float(solution.marginal_error[0])
    errors["value_is"] = float(value)
    return errors


def problem(name):
    x, y = cloud(9, 4, seed=1), cloud(12, 4, seed=2) + 0.1
    if name == "weights with zeros":
        return x, y, histogram(9, [0, 4], 3), histogram(12, [11], 4)
    if name == "several tiles":
        return cloud(19, 4, seed=1), cloud(30, 4, seed=2), histogram(19, [17], 3), histogram(30, [0, 29], 4)
    if name == "far away weightless":
        x, y = x.clone(), y.clone()
        x[0], y[11] = 1e4, -1e4
        return x, y, histogram(9, [0, 4], 3), histogram(12, [11], 4)
    if name == "identical":
        y = x
    elif name == "duplicates":
        x = x[[0, 0, 0, 1, 2, 2, 3, 4, 5]]
    elif name == "constant":
        x, y = torch.zeros_like(x), torch.ones_like(y)
    elif name == "offset":
        # What is computed in single precision must not see it; the shifted points are these in double.
        x, y = x + 1000, y + 1000
    elif name == "more coordinates than a tile":
        x, y = cloud(9, 40, 0.08, seed=1), cloud(12, 40, 0.08, seed=2)
    return x, y, uniform(x), uniform(y)


def together():
    """Easy, hard and zero problems, together and one by one."""
    easy, hard = cloud(14, 3, seed=5), cloud(14, 3, 2.0, seed=6)
    pairs = [(easy, easy * 0.9 + 0.05), (hard, cloud(14, 3, 2.0, seed=7)), (easy * 0, easy * 0)]
    problems = [(x, y, uniform(x), uniform(y)) for x, y in pairs]
    whole, single = solve(problems, 3, max_iter=28), [solve([p], 3, max_iter=28) for p in problems]
    return {
        "value": [[float(whole.value[i]), float(s.value[0])] for i, s in enumerate(single)],
        "gradient": [float((whole.gradients[0][i] - s.gradients[0][0]).abs().max()) for i, s in enumerate(single)],
        "marginal": whole.marginal_error.tolist(),
        "right": [float(reference(*p, 3)[0]) for p in problems[::2]],
    }


def true_marginal_error():
    """Of a problem that is stopped after three sweeps: what is reported, and what the potentials say."""
    x, y, a, b = problem("")
    solution = solve([(x, y, a, b)], 1, max_iter=3)
    f, g = (z[0].double() for z in solution.gradients[2:])
    cost = torch.cdist(x, y).square() / 2
    density = a[:, None] * b * ((f[:, None] + g - cost) / BLUR**2).exp()
    density = density / density.sum()
    wrong = (density.sum(0) - b).abs().sum() + (density.sum(1) - a).abs().sum()
    return {"reported": float(solution.marginal_error[0]), "true": float(wrong)}


def unwanted():
    one = problem("")
    shapes = [len(g) for g in solve([one], 3, [True, False, False, True]).gradients]
    half = solve([tuple(z.half() for z in one)], 1, tol=1e-2)
    return {"lengths": shapes, "half": float(half.value[0] / solve([one], 1, tol=1e-2).value[0])}


kind, wanted = sys.argv[1:]
if kind == "streaming":
    triton_small.LARGEST = 0
elif kind == "cached":
    triton_small._LARGEST_KEPT = triton_small._TILE_ROWS = 16
results = {}
for name in json.loads(wanted):
    if name in ("together", "true_marginal_error", "unwanted"):
        results[name] = globals()[name]()
    else:
        case, terms = name.rsplit("/", 1)
        results[name] = compare(problem(case), int(terms))
print(json.dumps(results))
'''
CASES = [
    "plain/1", "plain/2", "plain/3", "weights with zeros/1", "weights with zeros/3", "far away weightless/3",
    "identical/3", "duplicates/3", "constant/3", "offset/3", "several tiles/3",
    "more coordinates than a tile/3",
]  # fmt: skip
OTHERS = ["together", "true_marginal_error", "unwanted"]

# Compiles the kernels for what the backend launches them with, where there is no GPU.
COMPILER = """
import json, sys
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

triton.autotune = lambda *configs, **settings: lambda kernel: kernel  # it would ask for a GPU
from pkdot.transport import triton_backend
from pkdot.transport.kernels import triton_small
from pkdot.transport.kernels import triton_streaming as streaming
from pkdot.transport.problem import Clouds, Goal

TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32", int: "i32", float: "fp32"}
capability, found = int(sys.argv[1]), []


class Compiled:
    def __init__(self, kernel, num_warps=4, num_stages=3, **constants):
        self.kernel, self.constants = kernel, constants
        self.options = {"num_warps": num_warps, "num_stages": num_stages}

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *arguments, num_warps=None, **constants):
        constants = {**self.constants, **constants}
        options = {**self.options, "num_warps": num_warps or self.options["num_warps"]}
        names = self.kernel.arg_names
        signature = {name: TYPES[getattr(z, "dtype", type(z))] for name, z in zip(names, arguments)}
        signature = {name: signature.get(name, "constexpr") for name in names}
        aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind[0] == "*"}
        constants = {(names.index(name),): value for name, value in constants.items()}
        source = ASTSource(self.kernel, signature, constants, aligned)
        done = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        target = [line.split()[1] for line in done.asm["ptx"].splitlines() if line.startswith(".target")]
        found.append({"elf": done.asm["cubin"][:4] == b"\\x7fELF", "target": target, "shared": done.metadata.shared})


triton_small._solve = Compiled(triton_small._solve)
for points, dtype in ((16, torch.float32), (triton_small.LARGEST, torch.float64)):
    x, weight = torch.rand(1, points, 3, dtype=dtype), torch.full((1, points), 1 / points, dtype=dtype)
    goal = Goal(0.1, float("inf"), 1e-4, 10, 3)
    triton_backend.divergence(Clouds(x, x, weight, weight), goal, [True] * 4)
config = streaming._configs()[0]
streaming._tuned = Compiled(
    streaming._attend, num_warps=config.num_warps, num_stages=config.num_stages, **config.kwargs
)
side = streaming.side(torch.rand(1, 300, 40), torch.full((1, 300), 1 / 300))
streaming.softmin(side, side, side.weight)
streaming.softmin_and_barycentres(side, side, side.weight)
print(json.dumps(found))
"""
# Bytes of memory that a block can share, by compute capability.
SHARED = {80: 163 * 1024, 90: 227 * 1024}


def run(kind: str, names: list[str]) -> dict[str, Any]:
    """What the child finds out with one of the kernels."""
    told: dict[str, Any] = python(CHILD, kind, json.dumps(names), TRITON_INTERPRET="1")
    return told


def python(code: str, *arguments: str, **environment: str) -> Any:
    """The JSON on the last line that a process of its own prints."""
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout.splitlines()[-1])


@pytest.fixture(scope="module", params=KINDS)
def results(request: pytest.FixtureRequest) -> dict[str, Any]:
    return run(request.param, CASES + OTHERS)


@needs_triton
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_float64(results: dict[str, Any], case: str) -> None:
    found = results[case]
    assert found["finite"]
    assert found["marginal"] <= TOL
    assert found["value"] <= 1e-5 * (1 + abs(found["value_is"])), found
    assert max(found[name] for name in "xyab") <= 1e-3, found


@needs_triton
def test_identical_clouds_are_at_distance_zero(results: dict[str, Any]) -> None:
    assert results["identical/3"]["value"] < 1e-7


@needs_triton
def test_problems_of_a_batch_do_not_see_each_other(results: dict[str, Any]) -> None:
    found = results["together"]
    for together, alone in found["value"]:
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-7)
    (easy, _), _, (zero, _) = found["value"]
    assert [easy, zero] == pytest.approx(found["right"], rel=1e-4, abs=1e-7)
    assert found["gradient"][0] < 1e-5
    assert found["gradient"][2] == 0
    assert found["marginal"][0] <= TOL
    assert found["marginal"][1] > TOL, "a hard problem that is stopped must say so"


@needs_triton
def test_a_stopped_problem_reports_its_true_error(results: dict[str, Any]) -> None:
    found = results["true_marginal_error"]
    assert found["reported"] > TOL
    assert found["reported"] == pytest.approx(found["true"], rel=1e-2)


@needs_triton
def test_unwanted_gradients_are_empty(results: dict[str, Any]) -> None:
    assert [length > 0 for length in results["unwanted"]["lengths"]] == [True, False, False, True]


@needs_triton
def test_half_precision_is_computed_in_single(results: dict[str, Any]) -> None:
    assert results["unwanted"]["half"] == pytest.approx(1.0, rel=2e-2)


@needs_triton
def test_costs_that_registers_do_not_hold_make_no_difference() -> None:
    case = "several tiles/3"
    test_values_and_gradients_are_those_of_float64({case: run("cached", [case])[case]}, case)


def test_import_needs_no_triton() -> None:
    code = (
        "import sys; sys.modules['triton'] = None; from pkdot.transport import triton_backend; "
        "assert callable(triton_backend.available)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


@needs_triton
@pytest.mark.parametrize("capability", SHARED)
def test_the_kernels_compile_without_a_gpu(capability: int, tmp_path: Path) -> None:
    kernels = python(COMPILER, str(capability), TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert len(kernels) == 4
    for kernel in kernels:
        assert kernel["elf"]
        assert kernel["target"][0].startswith(f"sm_{capability}")
        assert kernel["shared"] <= SHARED[capability]
