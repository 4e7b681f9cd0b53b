"""A comparison from its config to its report."""

import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from pkdot.checks import check_type
from pkdot.comparison.config import CompareConfig
from pkdot.comparison.grid import grid_of
from pkdot.comparison.plan import Plan, Run, aliases
from pkdot.comparison.report.pooling import pooled_where_too_small
from pkdot.comparison.report.scores import TEACHER, Score
from pkdot.comparison.report.write import write_report
from pkdot.comparison.stages import check_machine, run_stages
from pkdot.comparison.tuning import frozen_factors
from pkdot.storage import locked

log = logging.getLogger(__name__)


def compare(config: CompareConfig, command: str) -> Path:
    """Do what ``config.stage`` says; returns the report's path, or the folder of the runs where none was written.

    Raises:
        ValueError: the grid cannot be run, weights are not chosen yet, or there is nothing to report.
        RunsFailed: some did; the others were made.
    """
    check_type("config", config, CompareConfig)
    check_machine(config)
    plan = Plan(grid_of(config), config)
    for (data, entry), reason in plan.left_out.items():
        log.info("%s is left out on %s: %s", entry, data, reason)
    if config.cluster != "none":
        from pkdot.comparison.cluster import run_on_cluster  # submitit: an extra

        run_on_cluster(config)
    else:
        run_stages(plan, config)
    # A shard knows its own runs only: the report needs all of them.
    if config.stage != "report" and not (config.stage == "all" and config.part()[1] == 1):
        return config.out
    chosen = {block: frozen_factors(plan, *block) for block in plan.blocks()}
    runs = [run for block, factors in chosen.items() for run in plan.testing(*block, factors)]
    found = scores(runs)
    with locked(config.out, wait=True) if found else nullcontext():
        return write_report(found, config.out, command=command, notes=_notes(plan, chosen, runs))


def is_scored(run: Run) -> bool:
    """Whether it has a line in the tables: all but the teachers of controls."""
    return not run.is_teacher or run.entry == TEACHER


def scores(runs: Sequence[Run]) -> list[Score]:
    """What the finished runs scored on their test splits; folds that are too small for that are pooled.

    Raises:
        ValueError: as ``pooling.pooled_where_too_small`` does.
    """
    found = []
    for run in runs:
        if not run.done or not is_scored(run):
            continue
        result = json.loads((run.folder / "result.json").read_text(encoding="utf-8"))
        metric = result["primary_metric"]
        score = Score(
            data=run.cell.data,
            regime=run.cell.regime,
            entry=run.entry,
            fold=run.cell.fold,
            seed=run.cell.seed,
            split=result["split_digest"],
            metric=metric,
            value=result["metrics"][metric],
            train_samples=result["train_samples"],
            test_samples=result["samples"],
            pooled=result.get("pooled", False),
        )
        found.append((score, run.folder / "predictions.csv"))
    return pooled_where_too_small(found)


def _notes(plan: Plan, chosen: dict[tuple[str, str], dict[str, float]], runs: list[Run]) -> list[str]:
    config, found = plan.config, {run.folder: run.done for run in runs}
    notes = [f"{sum(found.values())} of {len(found)} runs are in."]
    if config.tune_seeds:
        notes.append(
            f"Weights: gradient-balanced, times one of {', '.join(f'{factor:g}' for factor in config.tune)}, chosen "
            f"for each method, data set and regime by the mean validation score of {config.tune_seeds} other seeds."
        )
    for (data, regime), factors in chosen.items():
        told = [f"{name} x{factors[name]:g}" for name in plan.entries(data, regime) if name in factors]
        if told:
            notes.append(f"{data}, {regime}: {', '.join(told)}")
    notes += [f"Left out on {data}: {entry} ({reason})" for (data, entry), reason in plan.left_out.items()]
    return notes + [
        f"One run stands for {' and '.join(entries)} on {', '.join(data)}: their settings are the same there."
        for entries, data in aliases(runs).items()
    ]
