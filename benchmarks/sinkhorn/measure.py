"""How it is measured: the cheapest knob that is exact enough, then medians over interleaved rounds."""

import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from torch import Tensor

from benchmarks.sinkhorn.clouds import Case, clouds
from benchmarks.sinkhorn.peers import Method, to_tensor
from benchmarks.sinkhorn.reference import Reference, reference

TARGETS = (1e-2, 1e-3)
DRAWS = 3
# A call that takes this many times the limit is given up.
_GIVE_UP = 3.0
# A call shorter than this runs twice in its turn, and the second counts: it does not pay for its neighbour's caches.
_BRIEF = 0.1

Clock = Callable[[], float]


@dataclass(frozen=True)
class Rung:
    """One setting of a knob, tried once on each draw of the clouds.

    Seconds are a first impression, of the first draw; errors are relative, of the worst, infinite if given up.
    """

    knob: float
    error: float
    value_error: float
    seconds: float


@dataclass(frozen=True)
class Choice:
    """The setting that stands in a table, and its median seconds in the rounds."""

    method: str
    rung: Rung
    reached: bool
    seconds: float
    rounds: int


@dataclass
class Outcome:
    """What one case gave.

    Attributes:
        reference_error: the reference's marginal error.
        choices: target to the choice of each method that finished at all.
        compile_seconds: of the methods that compile.
    """

    reference_error: float
    choices: dict[float, dict[str, Choice]] = field(default_factory=dict)
    compile_seconds: dict[str, float] = field(default_factory=dict)


def cheapest(rungs: list[Rung], target: float) -> tuple[Rung, bool] | None:
    """The first rung that is exact enough, and True; or the most exact, and False; None if none was finished."""
    finished = [rung for rung in rungs if math.isfinite(rung.error)]
    for rung in finished:
        if rung.error <= target:
            return rung, True
    return (min(finished, key=lambda rung: rung.error), False) if finished else None


def walk(
    calls: Sequence[Callable[[float], tuple[object, object]]],
    ladder: tuple[float, ...],
    exact: Sequence[Reference],
    *,
    targets: tuple[float, ...],
    limit: float,
    clock: Clock = time.perf_counter,
) -> list[Rung]:
    """Try the knob's values, from cheap to exact, up to the first that meets all targets or exceeds the time limit.

    A user does not tune the knob for each problem: a value is as exact as on the worst of the draws.
    """
    rungs: list[Rung] = []
    for knob in ladder:
        error = value_error = seconds = 0.0
        for call, truth in zip(calls, exact, strict=True):
            start = clock()
            try:
                with _alarm(_GIVE_UP * limit):
                    value, gradient = call(knob)
            except TimeoutError:
                return [*rungs, Rung(knob, math.inf, math.inf, clock() - start)]
            seconds = seconds or clock() - start
            error = max(error, _relative(gradient, truth.gradient))
            value_error = max(value_error, _relative(value, truth.value))
            if error > max(targets):
                break
        rungs.append(Rung(knob, error, value_error, seconds))
        if error <= min(targets) or seconds > limit:
            break
    return rungs


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int, *, limit: float, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each call, one of each in turn, at least once and until its own seconds exceed the limit."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if sum(seconds[name]) > limit:
                continue
            start = clock()
            call()
            if clock() - start < _BRIEF:
                start = clock()
                call()
            seconds[name].append(clock() - start)
    return seconds


def run_case(
    case: Case,
    methods: list[Method],
    *,
    targets: tuple[float, ...] = TARGETS,
    draws: int = DRAWS,
    rounds: int,
    limit: float,
    device: str = "cpu",
    clock: Clock = time.perf_counter,
) -> Outcome:
    """Every method at its cheapest setting for each target, timed in turn on the first draw of the clouds."""
    pairs = [clouds(case, seed) for seed in range(draws)]
    exact = [reference(x, y) for x, y in pairs]
    outcome = Outcome(max(truth.marginal_error for truth in exact))
    chosen: dict[float, dict[str, tuple[Rung, bool]]] = {target: {} for target in targets}
    calls: dict[str, Callable[[], object]] = {}
    brief: dict[str, list[float]] = {}
    for method in methods:
        prepared = [method.prepare(x.to(device), y.to(device)) for x, y in pairs]
        if prepared[0].compile_seconds:
            outcome.compile_seconds[method.name] = prepared[0].compile_seconds
        rungs = walk([draw.call for draw in prepared], method.ladder, exact, targets=targets, limit=limit, clock=clock)
        for target in targets:
            found = cheapest(rungs, target)
            if found is None:
                continue
            chosen[target][method.name] = found
            key = _key(method.name, found[0])
            if found[0].seconds > limit:
                brief[key] = [found[0].seconds]
            else:
                calls[key] = _bound(prepared[0].call, found[0].knob)
    seconds = interleaved(calls, rounds, limit=limit, clock=clock) | brief
    for target in targets:
        outcome.choices[target] = {
            name: _timed(name, rung, reached, seconds[_key(name, rung)])
            for name, (rung, reached) in chosen[target].items()
        }
    return outcome


def fastest(outcome: Outcome, target: float, names: list[str]) -> Choice | None:
    """Of several ways to the target, the fastest that reached it; if none did, the most exact."""
    choices = [outcome.choices[target][name] for name in names if name in outcome.choices[target]]
    reached = [choice for choice in choices if choice.reached]
    if reached:
        return min(reached, key=lambda choice: choice.seconds)
    return min(choices, key=lambda choice: choice.rung.error) if choices else None


def _timed(name: str, rung: Rung, reached: bool, seconds: list[float]) -> Choice:
    return Choice(name, rung, reached, statistics.median(seconds), len(seconds))


def _key(name: str, rung: Rung) -> str:
    return f"{name}@{rung.knob}"


def _bound(call: Callable[[float], object], knob: float) -> Callable[[], object]:
    return lambda: call(knob)


def _relative(found: object, exact: Tensor) -> float:
    error = float(to_tensor(found).sub(exact).norm() / exact.norm())
    return error if math.isfinite(error) else math.inf


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a loop of Python's; a compiled loop runs to its end first."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"given up after {seconds:.0f} s.")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
