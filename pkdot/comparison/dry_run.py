"""What a comparison would run: how many runs, which of them are done, and how long the others may take."""

from collections.abc import Sequence
from statistics import median

from pkdot.comparison.config import CompareConfig
from pkdot.comparison.grid import grid_of
from pkdot.comparison.plan import Plan, Run
from pkdot.comparison.stages import jobs_at_a_time, planned
from pkdot.training.run_folder import RunFolder

SHOWN = 12
"""Run folders that are named one by one; more are counted only."""

Kind = tuple[str, bool]
"""A data set, and whether a run trains a teacher on it: what takes equally long."""


def dry_run(config: CompareConfig) -> str:
    """The plan in lines: counts for each stage, data set and regime, the first folders, and an estimate of the time."""
    plan = Plan(grid_of(config), config)
    lines = [f"left out: {entry} on {data}: {reason}" for (data, entry), reason in plan.left_out.items()]
    stages = planned(plan, config)
    for stage, runs in stages.items():
        for block in plan.blocks():
            inside = [run for run in runs if (run.cell.data, run.cell.regime) == block]
            lines.append(f"{stage}: {' / '.join(block)}: {_count(inside)}")
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
    """How long a finished run took, from its first file to its last; None where a copy has lost the times."""
    folder = RunFolder(run.folder)
    try:
        seconds = folder.result.stat().st_mtime - folder.config.stat().st_mtime
    except OSError:
        return None
    return seconds if seconds > 0 else None


def _estimate(runs: Sequence[Run], waiting: Sequence[Run], jobs: int) -> str:
    """What is left at the pace of what is done; data sets without a finished run are named instead."""
    paces: dict[Kind, list[float]] = {}
    for run in runs:
        if (seconds := seconds_of(run)) is not None:
            paces.setdefault(_kind(run), []).append(seconds)
    known = [median(paces[_kind(run)]) for run in waiting if _kind(run) in paces]
    unknown = list(dict.fromkeys(_told(_kind(run)) for run in waiting if _kind(run) not in paces))
    parts = [f"about {max(1, round(sum(known) / jobs / 60))} minutes with {jobs} at a time"] if known else []
    parts += [f"nothing is known yet of {', '.join(unknown)}"] if unknown else []
    return f"time: {'; '.join(parts)}"


def _kind(run: Run) -> Kind:
    return run.cell.data, run.is_teacher


def _told(kind: Kind) -> str:
    return f"{'teachers' if kind[1] else 'students'} on {kind[0]}"


def _count(runs: Sequence[Run]) -> str:
    return f"{len(runs)} runs, {sum(run.done for run in runs)} of them done"
