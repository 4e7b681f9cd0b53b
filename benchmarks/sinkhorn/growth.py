"""How time and memory grow with the number of points, as a figure."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sinkhorn.clouds import Case
from benchmarks.sinkhorn.measure import Outcome, fastest
from benchmarks.sinkhorn.peers import Method

SIZES = (128, 256, 512, 1024, 2048, 4096, 8192)
LARGEST_REFERENCE = 4096
TARGET = 1e-3
_FEWEST_MIB = 1.0
_MARKERS = "osD^vP*X"


@dataclass(frozen=True)
class Point:
    """One package at one size; MiB is None where it is too small to tell from the allocator's own."""

    points: int
    seconds: float
    mib: float | None
    reached: bool


def grow(
    sizes: tuple[int, ...],
    methods: list[Method],
    dimension: int,
    limit: float,
    run: Callable[[Case, list[Method]], Outcome],
    run_at: Callable[[Case, dict[str, float]], dict[str, float]],
    memory: Callable[[Case, str, float], float | None],
) -> dict[str, list[Point]]:
    """Points of each package, up to the size after which another would exceed the time limit.

    Args:
        sizes: numbers of points.
        methods: what is compared.
        dimension: of the clouds.
        limit: seconds of a call.
        run: a case at equal accuracy.
        run_at: a case too large for a reference, at the knobs given, to seconds.
        memory: case, method and knob to MiB.
    """
    grown: dict[str, list[Point]] = {}
    knobs: dict[str, tuple[float, bool]] = {}
    alive = list(methods)
    for size in sorted(sizes):
        case = Case(1, size, dimension)
        if size <= LARGEST_REFERENCE or not knobs:
            outcome = run(case, alive)
            best = {}
            for peer in dict.fromkeys(method.peer for method in alive):
                choice = fastest(outcome, TARGET, [method.name for method in alive if method.peer == peer])
                if choice is not None:
                    best[peer] = (choice.method, choice.seconds)
                    knobs[choice.method] = (choice.rung.knob, choice.reached)
        else:
            # The last size's fastest variant of each package goes on, at its last knob.
            last = {method.name: knobs[method.name][0] for method in alive}
            seconds = run_at(case, last)
            best = {method.peer: (method.name, seconds[method.name]) for method in alive}
        for peer, (name, spent) in best.items():
            mib = memory(case, name, knobs[name][0])
            shown = mib if mib is not None and mib >= _FEWEST_MIB else None
            grown.setdefault(peer, []).append(Point(size, spent, shown, knobs[name][1]))
            print(f"B = {size}: {name} {spent:.4g} s, {mib if mib is None else round(mib, 1)} MiB", flush=True)
        # Time grows with the square of the size, at least.
        alive = [m for m in alive if m.peer in best and 4 * best[m.peer][1] <= limit]
        if size >= LARGEST_REFERENCE:
            alive = [m for m in alive if best[m.peer][0] == m.name]
    return grown


def draw(grown: dict[str, list[Point]], dimension: int, threads: int, path: Path) -> None:
    """Save two log-log panels, seconds and MiB against the number of points."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for number, (peer, points) in enumerate(grown.items()):
        style = {"color": f"C{number}", "marker": _MARKERS[number % len(_MARKERS)], "label": peer}
        left.plot([p.points for p in points], [p.seconds for p in points], **style)
        held = [p for p in points if p.mib is not None]
        right.plot([p.points for p in held], [p.mib for p in held], **style)
        missed = [p for p in points if not p.reached]
        left.plot(
            [p.points for p in missed],
            [p.seconds for p in missed],
            "o",
            color=f"C{number}",
            mfc="white",
            ms=9,
            zorder=0,
        )
    sizes = sorted({p.points for points in grown.values() for p in points})
    told = sorted({p.points for points in grown.values() for p in points if p.mib is not None})
    start = min(points[0].seconds for points in grown.values()) / 4
    slope = [start * (size / sizes[0]) ** 2 for size in sizes]
    left.plot(sizes, slope, color="grey", lw=1, ls=":", label=r"slope of $B^2$")
    matrix = [4 * size**2 / 2**20 for size in told]
    right.plot(told, matrix, color="grey", lw=1, ls=":", label="one B x B float32 matrix")
    for axes, title, unit, ticks in (
        (left, "Time of value and gradient", "seconds", sizes),
        (right, "Peak extra memory", "MiB", told),
    ):
        axes.set(xscale="log", yscale="log", xlabel="points per cloud, B", ylabel=unit, title=title)
        axes.set_xticks(ticks, [str(size) for size in ticks])
        axes.minorticks_off()
        axes.grid(which="major", alpha=0.3)
        axes.legend()
    figure.suptitle(
        f"Debiased Sinkhorn divergence of two clouds in {dimension} dimensions, blur 0.1, "
        f"gradient within {TARGET:g} of exact, {threads} CPU thread{'s' if threads > 1 else ''}",
        fontsize=11,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
