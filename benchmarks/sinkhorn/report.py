"""The Markdown of a run."""

import math
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.sinkhorn.clouds import BLUR, EASY, EPS, HARD, Case
from benchmarks.sinkhorn.loss_step import PUBLISHED
from benchmarks.sinkhorn.measure import TARGETS, Choice, Outcome, fastest
from benchmarks.sinkhorn.memory import in_buffers
from benchmarks.sinkhorn.peers import Method, versions

MISSED = "†"


@dataclass
class Results:
    """What a run has measured so far.

    Attributes:
        command: that repeats it.
        settings: sentence on rounds, threads and clock.
        methods: what was compared.
        absent: a line for each package that was not.
        outcomes: of the solvers, by case.
        steps: case to the seconds of each loss step.
        memory: case and name (``solver: ...`` or ``loss: ...``) to MiB.
        load: load averages at the start and last.
        figure: name of the growth figure, where one was drawn.
    """

    command: str
    settings: str
    methods: list[Method]
    absent: list[str]
    outcomes: dict[Case, Outcome] = field(default_factory=dict)
    steps: dict[Case, dict[str, float]] = field(default_factory=dict)
    memory: dict[tuple[Case, str], float | None] = field(default_factory=dict)
    load: list[float] = field(default_factory=list)
    figure: Path | None = None

    @property
    def peers(self) -> dict[str, list[str]]:
        """Columns: package to the names of its methods."""
        grouped: dict[str, list[str]] = {}
        for method in self.methods:
            grouped.setdefault(method.peer, []).append(method.name)
        return grouped

    @property
    def ours(self) -> list[str]:
        """Names of pkdot's backends."""
        return [method.name for method in self.methods if method.is_ours]


def render(results: Results) -> str:
    """The whole report; what was not measured is left out."""
    parts = [_head(results)]
    if results.outcomes:
        parts += [_times(results, target) + _accuracies(results, target) for target in TARGETS]
        parts.append(_compilation(results))
    if results.steps:
        parts.append(_steps(results))
    if results.memory:
        parts.append(_memory(results))
    if results.figure is not None:
        parts.append(["## Growth", "", f"![Time and memory against the number of points]({results.figure.name})", ""])
    parts.append(_notes(results))
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def machine() -> str:
    """Processor, cores and accelerator."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    vectors = torch.backends.cpu.get_cpu_capability()
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model} ({vectors}), {os.cpu_count()} cores{accelerator}"


def _head(results: Results) -> list[str]:
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    load = (
        f" Load average {results.load[0]:.1f} at the start, {results.load[-1]:.1f} at the end." if results.load else ""
    )
    return [
        "# Sinkhorn divergences at equal accuracy",
        "",
        f"`{results.command}`",
        "",
        f"{machine()}; Python {platform.python_version()}, torch {torch.__version__}, {packages}. "
        f"{results.settings}{load}",
        "",
        f"N problems in one call, each between two clouds of B points in k dimensions, cost |x-y|²/2, blur {BLUR:g} "
        f"(entropy {EPS:g}), debiased; value and gradient in x, from float32 clouds. Easy clouds are those of a "
        f"student who separates the classes (mix {EASY:g}), hard ones of a student early in training (mix {HARD:g}).",
        "",
        *(line for reason in results.absent for line in (f"Left out: {reason}", "")),
    ]


def _times(results: Results, target: float) -> list[str]:
    others = [peer for peer in results.peers if not set(results.peers[peer]) & set(results.ours)]
    header = ["N", "B", "k", "mix", *results.peers, *(f"{peer} / pkdot" for peer in others)]
    rows: list[list[str]] = []
    ratios: dict[str, list[float]] = {peer: [] for peer in others}
    for case, outcome in results.outcomes.items():
        choices = {peer: fastest(outcome, target, names) for peer, names in results.peers.items()}
        ours = fastest(outcome, target, results.ours)
        cells = [_cell(choice, lambda c: milliseconds(c.seconds)) for choice in choices.values()]
        for peer in others:
            theirs = choices[peer]
            if theirs is None or ours is None:
                cells.append("-")
                continue
            ratio, reached = theirs.seconds / ours.seconds, theirs.reached and ours.reached
            cells.append(_digits(ratio) + ("" if reached else MISSED))
            if reached:
                ratios[peer].append(ratio)
        rows.append([*_columns(case), *cells])
    means = [_digits(math.exp(sum(map(math.log, r)) / len(r))) if r else "-" for r in ratios.values()]
    if means:
        rows.append(["", "", "", "mean", *("" for _ in results.peers), *means])
    return [
        f"## Gradient within {target:g}",
        "",
        f"Milliseconds, and how many times pkdot's fastest backend they are. {MISSED}: the target was not reached, the "
        "most exact setting stands here; -: no setting finished. Mean: geometric, without the daggers.",
        "",
        *table(header, rows),
    ]


def _accuracies(results: Results, target: float) -> list[str]:
    by_name = {method.name: method for method in results.methods}

    def told(choice: Choice) -> str:
        method = by_name[choice.method]
        variant = f"{method.variant}, " if method.variant else ""
        return f"{variant}{method.knob} {choice.rung.knob:g}: {choice.rung.error:.0e}"

    rows = [
        [*_columns(case), *(_cell(fastest(outcome, target, names), told) for names in results.peers.values())]
        for case, outcome in results.outcomes.items()
    ]
    header = ["N", "B", "k", "mix", *results.peers]
    return ["What was timed, and the relative error of its gradient, the worst of the draws:", "", *table(header, rows)]


def _compilation(results: Results) -> list[str]:
    seconds = [s for outcome in results.outcomes.values() for s in outcome.compile_seconds.values()]
    worst = max(outcome.reference_error for outcome in results.outcomes.values())
    lines = [f"Marginal error of the reference: {worst:.0e} at most.", ""]
    if seconds:
        lines += [
            f"OTT-JAX compiles once for each shape, {min(seconds):.1f} to {max(seconds):.1f} s, which is not counted.",
            "",
        ]
    return lines


def _steps(results: Results) -> list[str]:
    names = list(dict.fromkeys(name for step in results.steps.values() for name in step))
    rows = []
    for case, step in results.steps.items():
        cells = [milliseconds(step[name]) if name in step else "-" for name in names]
        ratios = [
            _digits(step[PUBLISHED] / step[name]) if PUBLISHED in step and name in step else "-"
            for name in names
            if name != PUBLISHED
        ]
        rows.append([str(case.points), str(case.dimension), f"{case.mix:g}", *cells, *ratios])
    header = ["B", "k", "mix", *names, *(f"published / {name}" for name in names if name != PUBLISHED)]
    return [
        "## The whole loss step",
        "",
        "Milliseconds from embeddings in 512 dimensions to the gradient of the student's. The published code takes the "
        "k farthest of each row, in no order, and runs geomloss at its defaults, which are not converged; pkdot is "
        "solved to its default tolerance. As released: the same anchors, sorted, and shift. Nearest: the k most "
        "similar. Only the cost can be compared: the loss depends on the order of the anchors.",
        "",
        *table(header, rows),
    ]


def _memory(results: Results) -> list[str]:
    rows = [
        [
            *_columns(case),
            name,
            "-" if mib is None else f"{mib:.0f}",
            "-" if mib is None else f"{in_buffers(mib, case):.1f}",
        ]
        for (case, name), mib in results.memory.items()
    ]
    return [
        "## Peak memory",
        "",
        "What one call adds to the memory in use before it, in a process of its own; a buffer is one B x B matrix in "
        "float32. Of small problems these are the allocator's and the libraries' own.",
        "",
        *table(["N", "B", "k", "mix", "what", "MiB", "buffers"], rows),
    ]


def _notes(results: Results) -> list[str]:
    notes = [
        "The knob is chosen by an oracle, for every method alike; a user without a reference would take a safer one. "
        "Ladders are coarse: a setting may be more exact than was asked for. Of tolerances, pkdot's ladder starts at "
        "1 and the others' at 0.1, because some of its backends solve beyond what they are asked for.",
        "geomloss's knob is a cooling schedule, not a tolerance: it cannot stop when it is done. POT and OTT-JAX test "
        "their marginals every 10 iterations; in a batch they run until the slowest problem is done.",
        "All get float32 clouds. pkdot may compute in float64 inside, of its own accord; the others stay in float32.",
        "POT has no debiased divergence: it is three calls here, the two self terms by its general iteration. "
        "The others have symmetric iterations for them.",
        "Nobody is given a start from an earlier solution, and all compute the second cloud's self term, which has no "
        "gradient in x.",
        "POT: the better of `ot.batch.solve_batch` and `ot.solve(method='sinkhorn_log')`, one call a problem. The "
        "former's own envelope gradient records all its iterations, in time and memory; here it solves without "
        "gradient, and the envelope is taken from its plan, which gives the same numbers. "
        "OTT-JAX: the better of its default and momentum 1.5; arrays are already JAX's, and jitted. Its epsilon "
        "schedules, Anderson acceleration and initialisers were not tried, nor were KeOps backends of geomloss.",
        "The reference is an annealed log-domain Sinkhorn with Newton's steps, in float64. Above 1024 points the plan "
        "between the clouds is pkdot's own, in float64 at tolerance 1e-9, checked by its marginals; the self terms are "
        "the reference's. Errors are those of the gradient over all problems of a case together.",
        "One family of synthetic data, one seed. Ratios below 1.3 are ties.",
        "torch and XLA are bound to the same cores (affinity), so that XLA's pool has as many threads as torch's. "
        "Where other work shares these cores, several threads wait for each other and wall-clock times are worthless: "
        "use --threads 1 --clock cpu there.",
        "The figure: the knob at each size is the cheapest for 1e-3, above 4096 points that of the size before, "
        "unchecked; a package stops where four times its last time exceeds the limit. Ringed: target not reached.",
    ]
    slow = [f"{c.method} at {_name(case)}" for case, c in _all_choices(results) if c.rounds == 1]
    if slow:
        notes.append("Measured once, because of the time limit: " + ", ".join(dict.fromkeys(slow)) + ".")
    return ["## Notes", "", *(f"- {note}" for note in notes)]


def _all_choices(results: Results) -> Iterable[tuple[Case, Choice]]:
    for case, outcome in results.outcomes.items():
        for choices in outcome.choices.values():
            for choice in choices.values():
                yield case, choice


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table, and an empty one behind it."""
    lines = [header, ["---"] * len(header), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def milliseconds(seconds: float) -> str:
    """Three digits, without an exponent."""
    value = 1000 * seconds
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _cell(choice: Choice | None, tell: Callable[[Choice], str]) -> str:
    return "-" if choice is None else tell(choice) + ("" if choice.reached else MISSED)


def _digits(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}"


def _columns(case: Case) -> list[str]:
    return [str(case.problems), str(case.points), str(case.dimension), f"{case.mix:g}"]


def _name(case: Case) -> str:
    return f"({case.name}, {case.mix:g})"
