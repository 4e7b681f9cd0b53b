"""The stages of a comparison: choose weights, then train what is compared; all of it, or a machine's part."""

import logging
import os
from collections.abc import Sequence

import torch

from pkdot.comparison.config import CompareConfig, RunsFailed
from pkdot.comparison.execution import read_ahead, run_all, why
from pkdot.comparison.plan import Plan, Run, Stage
from pkdot.comparison.reuse import reused
from pkdot.comparison.tuning import choose_factors, frozen_factors, to_choose
from pkdot.training.device import check_one_process, check_threads, find_device

log = logging.getLogger(__name__)


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


def check_machine(config: CompareConfig) -> None:
    """Raise ``ValueError`` where no run could be made here, before the first of them fails; a cluster is elsewhere."""
    check_one_process()
    if config.cluster == "none" and config.stage != "report":
        find_device(config.device)
        check_threads(jobs_at_a_time(config) * config.threads)


def _run(runs: list[Run], config: CompareConfig, title: str) -> None:
    failed = run_all(shard(runs, config), jobs=jobs_at_a_time(config), keep_weights=config.keep == "all", title=title)
    if failed:
        raise RunsFailed(f"{len(failed)} runs failed, the first of them {failed[0].folder}: {why(failed[0], None)}")
