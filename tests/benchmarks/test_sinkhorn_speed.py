import math
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.sinkhorn import clouds as problems
from benchmarks.sinkhorn import loss_step
from benchmarks.sinkhorn.clouds import Case, clouds, parse_cases
from benchmarks.sinkhorn.growth import Point, draw, grow
from benchmarks.sinkhorn.measure import Choice, Outcome, Rung, cheapest, fastest, interleaved, run_case, walk
from benchmarks.sinkhorn.memory import Job, in_buffers, peak_growth
from benchmarks.sinkhorn.peers import PEERS, Method, all_methods, on_torch, to_tensor
from benchmarks.sinkhorn.reference import Reference, reference
from benchmarks.sinkhorn.report import Results, milliseconds, render

TINY = Case(2, 16, 4)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def rung(knob: float, error: float, seconds: float = 1.0) -> Rung:
    return Rung(knob, error, error**2, seconds)


def fake(name: str, errors: dict[float, float]) -> Method:
    """A method whose gradient is off by as much as its knob says."""

    def loss(x: torch.Tensor, y: torch.Tensor, knob: float) -> torch.Tensor:
        exact = reference(x, y)
        return (x.double() * exact.gradient * (1 + errors[knob])).sum((-2, -1))

    return Method(name, "", "knob", tuple(errors), on_torch(loss))


def test_the_reference_is_the_gradient_of_its_own_value() -> None:
    x, y = (z.double() for z in clouds(TINY))
    exact = reference(x, y)
    assert exact.marginal_error < 1e-8
    move = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    ahead, behind = (reference(x + sign * 1e-4 * move, y).value.sum() for sign in (1, -1))
    assert float(ahead - behind) / 2e-4 == pytest.approx(float((exact.gradient * move).sum()), rel=1e-5)
    assert float(reference(x, x).value.abs().max()) < 1e-10


def test_the_reference_of_large_clouds_is_that_of_small_ones() -> None:
    x, y = clouds(replace(TINY, mix=problems.HARD))
    small, large = reference(x, y), reference(x, y, large=0)
    torch.testing.assert_close(large.value, small.value, rtol=1e-7, atol=0)
    torch.testing.assert_close(large.gradient, small.gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("peer", [*(peer.label for peer in PEERS), "pkdot"])
def test_every_method_at_its_most_exact_computes_the_same(peer: str) -> None:
    for module in (known.module for known in PEERS if known.label == peer):
        pytest.importorskip(module)
    methods = [method for method in all_methods()[0] if method.peer.startswith(peer)]
    if not methods:
        pytest.skip(f"{peer} does not run here.")
    x, y = clouds(replace(TINY, mix=problems.HARD))
    exact = reference(x, y)
    for method in methods:
        # The last rungs of a cooling schedule take seconds.
        value, gradient = method.prepare(x, y).call(min(method.ladder[-1], 0.99))
        torch.testing.assert_close(to_tensor(value), exact.value, rtol=1e-3, atol=0)
        assert to_tensor(gradient).sub(exact.gradient).norm() < 2e-3 * exact.gradient.norm(), method.name


def test_a_package_that_is_absent_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.sinkhorn.peers.find_spec", lambda name: None)
    methods, absent = all_methods()
    assert all(method.is_ours for method in methods)
    assert "geomloss is not installed." in absent


def test_a_backend_that_is_unavailable_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.sinkhorn.peers.BACKENDS", ("auto", "torch", "nonsense"))
    methods, absent = all_methods()
    assert [method.name for method in methods if method.is_ours] == ["pkdot torch"]
    assert any(line.startswith("pkdot nonsense is not available") for line in absent)
    assert [method.name for method in all_methods(only="pkdot torch")[0]] == ["pkdot torch"]


def test_the_first_exact_enough_setting_is_chosen() -> None:
    rungs = [rung(0.5, 0.2), rung(0.7, 8e-3), rung(0.8, 9e-3), rung(0.9, 5e-4)]
    assert cheapest(rungs, 1e-2) == (rungs[1], True)
    assert cheapest(rungs, 1e-3) == (rungs[3], True)


def test_without_one_the_most_exact_is_marked() -> None:
    rungs = [rung(0.5, 0.2), rung(0.7, 3e-3), rung(0.8, 4e-3), rung(0.9, math.inf)]
    assert cheapest(rungs, 1e-3) == (rungs[1], False)
    assert cheapest([rung(0.5, math.inf)], 1e-3) is None


def test_the_ladder_is_left_at_the_target_and_at_the_limit() -> None:
    exact = Reference(torch.ones(1).double(), torch.ones(1, 2, 2).double(), 0.0)
    ticks = iter(range(0, 1000, 7))

    def call(knob: float) -> tuple[torch.Tensor, torch.Tensor]:
        return exact.value * (1 + knob), exact.gradient * (1 + knob)

    def tried(limit: float) -> list[float]:
        rungs = walk([call], (0.3, 1e-3, 1e-4), [exact], targets=(1e-2,), limit=limit, clock=lambda: float(next(ticks)))
        return [step.knob for step in rungs]

    assert tried(limit=100) == [0.3, 1e-3]
    assert tried(limit=1) == [0.3]


def test_a_setting_is_as_exact_as_on_the_worst_draw() -> None:
    exact = Reference(torch.ones(1).double(), torch.ones(1, 2, 2).double(), 0.0)

    def off(factor: float) -> Callable[[float], tuple[torch.Tensor, torch.Tensor]]:
        return lambda knob: (exact.value * (1 + knob), exact.gradient * (1 + factor * knob))

    rungs = walk([off(0.1), off(1.0)], (5e-2, 5e-3, 5e-4), [exact] * 2, targets=(1e-2, 1e-3), limit=10)
    assert [step.error for step in rungs] == pytest.approx([5e-2, 5e-3, 5e-4])


def test_a_loop_without_end_is_given_up() -> None:
    def call(knob: float) -> tuple[torch.Tensor, torch.Tensor]:
        while True:
            time.sleep(1e-3)

    exact = Reference(torch.ones(1).double(), torch.ones(1, 2, 2).double(), 0.0)
    assert [step.error for step in walk([call], (0.3, 0.1), [exact], targets=(1e-2,), limit=0.02)] == [math.inf]


def test_rounds_take_turns_and_what_exceeds_the_limit_runs_once() -> None:
    now, called = 0.0, []

    def spend(name: str, seconds: float) -> None:
        nonlocal now
        now += seconds
        called.append(name)

    calls = {"fast": lambda: spend("fast", 1.0), "slow": lambda: spend("slow", 50.0)}
    seconds = interleaved(calls, 3, limit=10, clock=lambda: now)
    assert called == ["fast", "slow", "fast", "fast"]
    assert seconds == {"fast": [1.0] * 3, "slow": [50.0]}


def test_a_case_is_timed_at_equal_accuracy() -> None:
    methods = [fake("fast", {0.5: 5e-3, 0.9: 5e-4}), fake("rough", {0.5: 0.5, 0.9: 0.1})]
    outcome = run_case(TINY, methods, rounds=1, limit=10)
    chosen = {target: {n: (c.rung.knob, c.reached) for n, c in by.items()} for target, by in outcome.choices.items()}
    assert chosen[1e-2] == {"fast": (0.5, True), "rough": (0.9, False)}
    assert chosen[1e-3] == {"fast": (0.9, True), "rough": (0.9, False)}


def test_of_several_ways_the_fastest_that_is_exact_counts() -> None:
    a = Choice("a", rung(1.0, 0.5), False, 1.0, 5)
    b = Choice("b", rung(1.0, 1e-3), True, 3.0, 5)
    c = Choice("c", rung(1.0, 2e-3), True, 2.0, 5)
    outcome = Outcome(0.0, {1e-2: {"a": a, "b": b, "c": c}})
    assert fastest(outcome, 1e-2, ["a", "b", "c"]) is c
    assert fastest(outcome, 1e-2, ["a"]) is a
    assert fastest(outcome, 1e-2, ["d"]) is None


def test_cases_are_read_from_the_command_line() -> None:
    assert parse_cases(["8,128,30"], [0.6, 0.3]) == [Case(8, 128, 30, 0.6), Case(8, 128, 30, 0.3)]
    for wrong in ("8,128", "1,0,3", "a,b,c"):
        with pytest.raises(ValueError, match="case is"):
            parse_cases([wrong], [0.6])


def test_the_loss_steps_run() -> None:
    steps = loss_step.loss_steps(Case(1, 16, 4))
    assert {"pkdot torch, nearest", "pkdot torch, as released"} <= set(steps)
    for step in steps.values():
        step()


def test_the_published_step_takes_the_farthest_of_shifted_similarities() -> None:
    geomloss = pytest.importorskip("geomloss")
    student, teacher = (z[0].double() for z in problems.embeddings(Case(1, 16, 4)))
    s, t = (torch.nn.functional.cosine_similarity(z[None], z[:, None], dim=-1) for z in (student, teacher))
    farthest = t.argmin(1, keepdim=True)
    x, y = (t - t.min()).gather(1, farthest), (s - s.min()).gather(1, farthest)
    expected = geomloss.SamplesLoss("sinkhorn", p=2, blur=0.1)(x, y)
    torch.testing.assert_close(loss_step.published_loss(1)(student, teacher), expected)


@pytest.fixture
def results() -> Results:
    methods = [fake("geomloss", {0.5: 0.0}), fake("POT", {0.5: 0.0}), fake("pkdot torch", {0.5: 0.0})]
    seconds = {"geomloss": 0.030, "POT": 90.0, "pkdot torch": 0.010}
    choices = {
        name: Choice(name, rung(0.5, 2e-3, s), name != "POT", s, 1 if s > 60 else 15) for name, s in seconds.items()
    }
    result = Results("python -m benchmarks.sinkhorn_speed", "1 thread.", methods, ["flash is not here."])
    result.outcomes[TINY] = Outcome(1e-10, {1e-2: choices, 1e-3: choices}, {"POT": 2.0})
    result.steps[Case(1, 128, 8)] = {loss_step.PUBLISHED: 0.006, "pkdot torch, nearest": 0.003}
    result.memory[Case(1, 4096, 30), "solver: geomloss"] = 512.0
    result.memory[Case(1, 4096, 30), "solver: POT"] = None
    return result


def test_the_report_renders(results: Results) -> None:
    told = render(results)
    for line in (
        "| 2 | 16 | 4 | 0.6 | 30.0 | 90000† | 10.0 | 3 | 9000† |",
        "|  |  |  | mean |  |  |  | 3 | - |",
        "| 2 | 16 | 4 | 0.6 | knob 0.5: 2e-03 | knob 0.5: 2e-03† | knob 0.5: 2e-03 |",
        "| 128 | 8 | 0.6 | 6.00 | 3.00 | 2 |",
        "| 1 | 4096 | 30 | 0.6 | solver: geomloss | 512 | 8.0 |",
        "| 1 | 4096 | 30 | 0.6 | solver: POT | - | - |",
        "Left out: flash is not here.",
        "- Measured once, because of the time limit: POT at (2,16,4, 0.6).",
    ):
        assert line in told.splitlines()
    assert "![" not in told
    assert f"]({'growth.png'})" in render(replace(results, figure=Path("somewhere/growth.png")))


def test_a_report_of_nothing_renders() -> None:
    assert render(Results("", "", [], [])).startswith("# Sinkhorn divergences")


def test_digits() -> None:
    assert [milliseconds(s) for s in (1.234e-3, 1.234e-2, 1.234)] == ["1.23", "12.3", "1234"]
    assert in_buffers(64.0, Case(1, 4096, 30)) == 1.0


def test_growth_drops_the_slow_and_keeps_the_last_knob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.sinkhorn.growth.LARGEST_REFERENCE", 32)
    methods = [fake("slow", {0.5: 0.0}), fake("quick", {0.5: 0.0})]
    asked: list[dict[str, float]] = []

    def run(case: Case, alive: list[Method]) -> Outcome:
        seconds = {"slow": 4.0, "quick": 0.1}
        return Outcome(0.0, {1e-3: {m.name: Choice(m.name, rung(0.5, 0), True, seconds[m.name], 3) for m in alive}})

    def run_at(case: Case, knobs: dict[str, float]) -> dict[str, float]:
        asked.append(knobs)
        return dict.fromkeys(knobs, 0.2)

    grown = grow((16, 32, 64), methods, 4, 10.0, run, run_at, lambda case, name, knob: case.points / 32)
    assert {peer: [p.points for p in points] for peer, points in grown.items()} == {"slow": [16], "quick": [16, 32, 64]}
    assert asked == [{"quick": 0.5}]
    assert grown["quick"] == [Point(16, 0.1, None, True), Point(32, 0.1, 1.0, True), Point(64, 0.2, 2.0, True)]
    pytest.importorskip("matplotlib")
    draw(grown, 4, 1, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_a_child_tells_the_memory_that_a_call_needs() -> None:
    mib = peak_growth(Job("pkdot torch", 1, 256, 4, 0.6, threads=1, knob=1e-2), timeout=120)
    assert mib is not None
    assert mib > 0.5


def test_a_child_that_fails_is_no_number(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(command: list[str], **settings: object) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="Traceback\nKeyError: 'nonsense'\n")

    monkeypatch.setattr("benchmarks.sinkhorn.memory.subprocess.run", fail)
    assert peak_growth(Job("nonsense", 1, 16, 4, 0.6, threads=1), timeout=1) is None
    assert capsys.readouterr().err == "memory of nonsense: KeyError: 'nonsense'\n"
