"""What a comparison would run: how many runs, how many of them are finished, and how long the others may take."""

from collections.abc import Sequence
from statistics import median

from pkdot.comparison.config import CompareConfig
from pkdot.comparison.grid_source import grid_of
from pkdot.comparison.machine import jobs_at_a_time
from pkdot.comparison.plan import Plan
from pkdot.comparison.run import Run
from pkdot.comparison.stages import planned
from pkdot.training.run_folder import RunFolder

SHOWN = 12
"""Largest number of run folders that are listed; the others are counted."""

Kind = tuple[str, bool]
"""A data set, and whether a run trains a teacher on it: runs of one kind take equally long."""


def dry_run(config: CompareConfig) -> str:
    """The plan in lines: counts for each stage, data set and regime, the first folders, and the estimated time."""
    plan = Plan(grid_of(config), config)
    lines = [f"left out: {entry} on {data}: {reason}" for (data, entry), reason in plan.left_out.items()]
    stages = planned(plan)
    for stage, runs in stages.items():
        for block in plan.blocks:
            inside = [run for run in runs if run.cell.block == (block.data, block.regime)]
            lines.append(f"{stage}: {block.name}: {_count(inside)}")
    runs = [run for runs in stages.values() for run in runs]
    waiting = [run for run in runs if not run.done]
    lines += [f"to do: {run.folder}" for run in waiting[:SHOWN]]
    if len(waiting) > SHOWN:
        lines.append(f"to do: {len(waiting) - SHOWN} more")
    lines.append(f"together: {_count(runs)}")
    if waiting:
        lines.append(_estimate(runs, waiting, jobs_at_a_time(config)))
    return "\n".join(lines)


def seconds_of(run: Run) -> float | None:
    """How long a finished run took, from its first file to its last; None if the files' times were lost."""
    folder = RunFolder(run.folder)
    try:
        seconds = folder.result.stat().st_mtime - folder.config.stat().st_mtime
    except OSError:
        return None
    return seconds if seconds > 0 else None


def _estimate(runs: Sequence[Run], waiting: Sequence[Run], jobs: int) -> str:
    """The time that is left, at the pace of the finished runs; kinds without a finished run are named instead."""
    paces: dict[Kind, list[float]] = {}
    for run in runs:
        if (seconds := seconds_of(run)) is not None:
            paces.setdefault(_kind(run), []).append(seconds)
    known = [median(paces[_kind(run)]) for run in waiting if _kind(run) in paces]
    unknown = list(dict.fromkeys(_told(_kind(run)) for run in waiting if _kind(run) not in paces))
    parts = [f"about {max(1, round(sum(known) / jobs / 60))} minutes with {jobs} at a time"] if known else []
    parts += [f"unknown yet for {', '.join(unknown)}"] if unknown else []
    return f"time: {'; '.join(parts)}"


def _kind(run: Run) -> Kind:
    return run.cell.data, run.is_teacher


def _told(kind: Kind) -> str:
    return f"{'teachers' if kind[1] else 'students'} on {kind[0]}"


def _count(runs: Sequence[Run]) -> str:
    return f"{len(runs)} runs, {sum(run.done for run in runs)} of them done"
