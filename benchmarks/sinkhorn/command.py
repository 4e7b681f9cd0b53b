"""One run of the benchmark, from its arguments to its files."""

import argparse
import os
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.sinkhorn import loss_step
from benchmarks.sinkhorn.clouds import SHAPES, Case, clouds, parse_cases
from benchmarks.sinkhorn.growth import SIZES, TARGET, draw, grow
from benchmarks.sinkhorn.measure import Outcome, interleaved, run_case
from benchmarks.sinkhorn.memory import Job, peak_growth
from benchmarks.sinkhorn.peers import Method, all_methods
from benchmarks.sinkhorn.report import Results, milliseconds, render

QUICK_SHAPES = ((1, 32, 8), (2, 64, 8))
QUICK_STEPS = ((1, 128, 8),)
QUICK_SIZES = (32, 64, 128)
QUICK_ROUNDS = 3
GROWTH_DIMENSION = 30
_START_SECONDS = 120.0


def run(arguments: argparse.Namespace) -> None:
    """Measure what was asked for, show it as it comes, and write it.

    Raises:
        ValueError: a case cannot be read, or the device or every backend of pkdot is not there.
    """
    _Run(arguments).everything()


class _Run:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.device, self.limit, self.threads = arguments.device, arguments.limit, arguments.threads
        self.rounds = min(arguments.rounds, QUICK_ROUNDS) if arguments.quick else arguments.rounds
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device is cuda; torch finds no CUDA here.")
        shapes = [",".join(map(str, shape)) for shape in (QUICK_SHAPES if arguments.quick else SHAPES)]
        self.cases = parse_cases(arguments.cases or shapes, arguments.mix)
        self.clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
        torch.set_num_threads(self.threads)
        warnings.simplefilter("ignore")
        methods, absent = all_methods(self.device)
        print(*absent, sep="\n", flush=True)
        if not any(method.is_ours for method in methods):
            raise ValueError("no backend of pkdot runs on this device; see above.")
        self.results = Results(
            command=f"python -m benchmarks.sinkhorn_speed {shlex.join(sys.argv[1:])}".strip(),
            settings=f"{self.threads} thread{'s' if self.threads > 1 else ''} on as many cores; medians of up to "
            f"{self.rounds} interleaved rounds of {'wall-clock' if arguments.clock == 'wall' else 'CPU'} time. A "
            f"setting is exact enough where it is so on {arguments.draws} draws of the clouds.",
            methods=methods,
            absent=absent,
            load=[os.getloadavg()[0]],
        )

    def everything(self) -> None:
        if "solvers" in self.arguments.parts:
            self._solvers()
        if "loss" in self.arguments.parts:
            self._losses()
        if "memory" in self.arguments.parts:
            self._memory()
        if self.arguments.growth:
            self._growth()
        print(self._write())

    def _solvers(self) -> None:
        for case in self.cases:
            outcome = self._case(case, self.results.methods)
            self.results.outcomes[case] = outcome
            for target, choices in outcome.choices.items():
                told = (
                    f"{c.method} {milliseconds(c.seconds)} ({c.rung.knob:g}: {c.rung.error:.0e})"
                    for c in choices.values()
                )
                print(f"{case.name}, mix {case.mix:g}, {target:g}: {'; '.join(told)}", flush=True)
            self._write()

    def _case(self, case: Case, methods: list[Method]) -> Outcome:
        return run_case(
            case,
            methods,
            draws=self.arguments.draws,
            rounds=self.rounds,
            limit=self.limit,
            device=self.device,
            clock=self.clock,
        )

    def _step_cases(self) -> list[Case]:
        shapes = QUICK_STEPS if self.arguments.quick else loss_step.SHAPES
        return [Case(*shape, mix) for shape in shapes for mix in self.arguments.mix]

    def _losses(self) -> None:
        for case in self._step_cases():
            calls = loss_step.loss_steps(case, self.device)
            seconds = interleaved(calls, self.rounds, limit=self.limit, clock=self.clock)
            medians = {name: statistics.median(values) for name, values in seconds.items()}
            self.results.steps[case] = medians
            told = (f"{name} {milliseconds(value)}" for name, value in medians.items())
            print(f"loss step {case.name}, mix {case.mix:g}: {'; '.join(told)}", flush=True)
            self._write()

    def _memory(self) -> None:
        singles = [case for case in self.cases if case.problems == 1 and case.mix == max(self.arguments.mix)]
        if singles:
            case = max(singles, key=lambda c: c.points)
            for method in self.results.methods:
                self._remember(case, method.name, "solver", self._knob(case, method))
        for case in self._step_cases():
            if case.mix == max(self.arguments.mix):
                for name in loss_step.loss_steps(case, self.device):
                    self._remember(case, name, "loss", None)

    def _remember(self, case: Case, name: str, kind: str, knob: float | None) -> None:
        mib = self._peak(case, name, knob)
        self.results.memory[case, f"{kind}: {name}"] = mib
        print(f"memory {case.name}, {kind} {name}: {mib if mib is None else round(mib, 1)} MiB", flush=True)
        self._write()

    def _knob(self, case: Case, method: Method) -> float:
        """As it was timed for the stricter target, or from the middle of the ladder."""
        outcome = self.results.outcomes.get(case)
        if outcome is not None and method.name in outcome.choices[TARGET]:
            return outcome.choices[TARGET][method.name].rung.knob
        return method.ladder[len(method.ladder) // 2]

    def _peak(self, case: Case, name: str, knob: float | None) -> float | None:
        shape = (case.problems, case.points, case.dimension, case.mix)
        job = Job(name, *shape, threads=self.threads, device=self.device, knob=knob)
        return peak_growth(job, _START_SECONDS + 3 * self.limit)

    def _growth(self) -> None:
        sizes = tuple(self.arguments.sizes or (QUICK_SIZES if self.arguments.quick else SIZES))
        grown = grow(sizes, self.results.methods, GROWTH_DIMENSION, self.limit, self._known, self._at, self._peak)
        if grown:
            draw(grown, GROWTH_DIMENSION, self.threads, self.arguments.growth)
            self.results.figure = self.arguments.growth

    def _known(self, case: Case, methods: list[Method]) -> Outcome:
        known = self.results.outcomes.get(case)
        return known if known is not None else self._case(case, methods)

    def _at(self, case: Case, knobs: dict[str, float]) -> dict[str, float]:
        x, y = (z.to(self.device) for z in clouds(case))
        calls: dict[str, Callable[[], object]] = {
            method.name: partial(method.prepare(x, y).call, knobs[method.name])
            for method in self.results.methods
            if method.name in knobs
        }
        seconds = interleaved(calls, self.rounds, limit=self.limit, clock=self.clock)
        return {name: statistics.median(values) for name, values in seconds.items()}

    def _write(self) -> str:
        self.results.load[1:] = [os.getloadavg()[0]]
        told = render(self.results)
        if self.arguments.write:
            self.arguments.write.parent.mkdir(parents=True, exist_ok=True)
            self.arguments.write.write_text(told, encoding="utf-8")
        return told
