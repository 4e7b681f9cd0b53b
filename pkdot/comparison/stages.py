"""The stages of a comparison: choose weights, then train what is compared."""

import logging

from pkdot.comparison.config import CompareConfig, RunsFailed
from pkdot.comparison.execution import read_ahead, run_all, why
from pkdot.comparison.machine import jobs_at_a_time, shard
from pkdot.comparison.plan import Plan
from pkdot.comparison.reuse import reused
from pkdot.comparison.run import Run, Stage
from pkdot.comparison.tuning import choose_factors, compared_runs, to_choose

log = logging.getLogger(__name__)


def run_stages(plan: Plan) -> None:
    """Train this machine's part of the stages that are asked for, one data set and regime after the other.

    Raises:
        ValueError: the weights are not chosen yet, and their stage is not asked for.
        RunsFailed: some runs failed; the others are finished.
    """
    config = plan.config
    runs = [run for stage in planned(plan).values() for run in stage]
    if runs:
        log.info("%s", reused(runs))
    read_ahead({run.cell.block: run.config.data for run in runs if not run.done}.values())
    for block in plan.blocks:
        if config.stage in ("all", "tune"):
            _run(to_choose(block), config, f"{block.name}: tune")
        if config.stage in ("all", "test"):
            _run(block.testing(choose_factors(block)), config, f"{block.name}: test")


def planned(plan: Plan) -> dict[Stage, list[Run]]:
    """This machine's runs of the stages that are asked for, as far as they are known before weights are chosen."""
    config, runs = plan.config, dict[Stage, list[Run]]()
    if config.stage in ("all", "tune"):
        runs["tune"] = [run for block in plan.blocks for run in to_choose(block)]
    if config.stage in ("all", "test"):
        runs["test"] = compared_runs(plan)
    return {stage: shard(own, config) for stage, own in runs.items()}


def _run(runs: list[Run], config: CompareConfig, title: str) -> None:
    failed = run_all(shard(runs, config), jobs=jobs_at_a_time(config), keep_weights=config.keep == "all", title=title)
    if failed:
        raise RunsFailed(f"{len(failed)} runs failed, the first of them {failed[0].folder}: {why(failed[0], None)}")
