"""The stages of a comparison: choose weights, train what is compared, report."""

import json
import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from pkdot.comparison.config import CompareConfig, RunsFailed
from pkdot.comparison.execution import read_ahead, run_all, why
from pkdot.comparison.grid import grid_of
from pkdot.comparison.plan import Plan, Run, Stage, aliases
from pkdot.comparison.pooling import pooled_where_too_small
from pkdot.comparison.report import write_report
from pkdot.comparison.reuse import reused
from pkdot.comparison.scores import TEACHER, Score
from pkdot.comparison.tuning import choose_factors, frozen_factors, to_choose
from pkdot.storage import locked

log = logging.getLogger(__name__)


def compare(config: CompareConfig, command: str) -> Path:
    """Do what ``config.stage`` says; returns the report's path, or the folder of the runs where none was written.

    Raises:
        ValueError: the grid cannot be run, weights are not chosen yet, or there is nothing to report.
        RunsFailed: some did; the others were made.
    """
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


def run_stages(plan: Plan, config: CompareConfig) -> None:
    """Train this shard's part of the stages that were asked for, one data set and regime after the other."""
    stages = planned(plan, config)
    if stages:
        log.info("%s", reused(run for runs in stages.values() for run in runs))
    waiting = [run for runs in stages.values() for run in runs if not run.done]
    read_ahead({(run.cell.data, run.cell.regime): run.config.data for run in waiting}.values())
    for block in plan.blocks():
        if config.stage in ("all", "tune"):
            _run(to_choose(plan, *block), config, f"{' / '.join(block)}: tune")
        if config.stage in ("all", "test"):
            _run(plan.testing(*block, choose_factors(plan, *block)), config, f"{' / '.join(block)}: test")


def dry_run(config: CompareConfig) -> str:
    """What would be run, a line each, and how much of it is done."""
    plan = Plan(grid_of(config), config)
    lines = [f"left out: {entry} on {data}: {reason}" for (data, entry), reason in plan.left_out.items()]
    for stage, runs in planned(plan, config).items():
        lines += [f"{'done ' if run.done else 'to do'}  {run.folder}" for run in runs]
        lines.append(f"{stage}: {len(runs)} runs, {sum(run.done for run in runs)} of them done")
    return "\n".join(lines)


def planned(plan: Plan, config: CompareConfig) -> dict[Stage, list[Run]]:
    """This shard's runs of the stages that were asked for, where they are known before weights are chosen."""
    stages: dict[Stage, list[Run]] = {
        "tune": [run for block in plan.blocks() for run in to_choose(plan, *block)],
        "test": [run for block in plan.blocks() for run in plan.testing(*block, frozen_factors(plan, *block))],
    }
    return {stage: shard(runs, config) for stage, runs in stages.items() if config.stage in ("all", stage)}


def shard(runs: Sequence[Run], config: CompareConfig) -> list[Run]:
    """This machine's runs: whole cells, so that a student's teachers are trained where it is, and each folder once."""
    mine, count = config.part()
    runs = list({run.folder: run for run in runs}.values())
    cells = {cell: number for number, cell in enumerate(dict.fromkeys(run.cell for run in runs))}
    return [run for run in runs if cells[run.cell] % count == mine]


def jobs_at_a_time(config: CompareConfig) -> int:
    """The number that was asked for, or one for so many of this process's cores as a run has threads."""
    if config.jobs != "auto":
        return config.jobs
    if config.device.startswith("cuda") or (config.device == "auto" and torch.cuda.is_available()):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // config.threads, 1)


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


def _run(runs: list[Run], config: CompareConfig, title: str) -> None:
    failed = run_all(shard(runs, config), jobs=jobs_at_a_time(config), keep_weights=config.keep == "all", title=title)
    if failed:
        raise RunsFailed(f"{len(failed)} runs failed, the first of them {failed[0].folder}: {why(failed[0], None)}")


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
