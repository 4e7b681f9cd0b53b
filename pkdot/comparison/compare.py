"""A comparison from its config to its report."""

import logging
from contextlib import nullcontext
from pathlib import Path

from pkdot.checks import check_type
from pkdot.comparison.config import CompareConfig
from pkdot.comparison.grid_source import grid_of
from pkdot.comparison.machine import check_machine
from pkdot.comparison.plan import Plan
from pkdot.comparison.report.write import write_report
from pkdot.comparison.results import scores
from pkdot.comparison.run import Run, aliases
from pkdot.comparison.stages import run_stages
from pkdot.comparison.tuning import compared_runs
from pkdot.storage import locked

log = logging.getLogger(__name__)


def compare(config: CompareConfig, command: str) -> Path:
    """Compare methods as ``config`` says.

    Args:
        config: what to compare, and which stages of it to do.
        command: printed in the report.

    Returns:
        The path of the report, or the folder of the runs where no report was asked for.

    Raises:
        ValueError: the grid cannot be run, weights are not chosen yet, or there is nothing to report.
        RunsFailed: some runs failed; the others are finished.
    """
    check_type("config", config, CompareConfig)
    check_machine(config)
    return carry_out(Plan(grid_of(config), config), command)


def carry_out(plan: Plan, command: str) -> Path:
    """Train the runs of a plan that are not finished, and write the report. Returns and raises as ``compare``."""
    config = plan.config
    for (data, entry), reason in plan.left_out.items():
        log.info("%s is left out on %s: %s", entry, data, reason)
    if config.cluster != "none":
        from pkdot.comparison.cluster import run_on_cluster  # submitit: an extra

        run_on_cluster(config)
    else:
        run_stages(plan)
    # A shard knows its own runs only: the report needs all of them.
    if config.stage != "report" and not (config.stage == "all" and config.part()[1] == 1):
        return config.out
    runs = compared_runs(plan)
    found = scores(runs)
    with locked(config.out, wait=True) if found else nullcontext():
        return write_report(found, config.out, command=command, notes=_notes(plan, runs))


def _notes(plan: Plan, runs: list[Run]) -> list[str]:
    """Notes for the report: how many runs are finished, the weights, and what is left out."""
    config, finished = plan.config, {run.folder: run.done for run in runs}
    notes = [f"{sum(finished.values())} of {len(finished)} runs are finished."]
    if config.tune_seeds:
        notes.append(
            f"Weights: gradient-balanced, times one of {', '.join(f'{factor:g}' for factor in config.tune)}, chosen "
            f"for each method, data set and regime by the mean validation score of {config.tune_seeds} other seeds."
        )
    factors: dict[tuple[str, str], dict[str, float]] = {}
    for run in runs:
        if run.factor is not None:
            factors.setdefault(run.cell.block, {})[run.entry] = run.factor
    notes += [
        f"{data}, {regime}: {', '.join(f'{entry} x{factor:g}' for entry, factor in chosen.items())}"
        for (data, regime), chosen in factors.items()
    ]
    notes += [f"Left out on {data}: {entry} ({reason})" for (data, entry), reason in plan.left_out.items()]
    return notes + [
        f"One run stands for {' and '.join(entries)} on {', '.join(data)}: their settings are the same there."
        for entries, data in aliases(runs).items()
    ]
