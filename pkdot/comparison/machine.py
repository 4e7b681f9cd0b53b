"""What this machine does of a comparison: which part of the runs, and how many at a time."""

import os
from collections.abc import Sequence

import torch

from pkdot.comparison.config import CompareConfig
from pkdot.comparison.run import Run, distinct
from pkdot.training.device import check_one_process, check_threads, find_device


def check_machine(config: CompareConfig) -> None:
    """Raise ``ValueError`` if this machine cannot run what is asked for. A cluster's machines are not checked."""
    check_one_process()
    if config.cluster == "none" and config.stage != "report":
        find_device(config.device)
        check_threads(jobs_at_a_time(config) * config.threads)


def jobs_at_a_time(config: CompareConfig) -> int:
    """The number of parallel runs: ``config.jobs``, or for "auto" CPU cores // threads per run, and 1 with CUDA.

    >>> jobs_at_a_time(CompareConfig(jobs=3))
    3
    """
    if config.jobs != "auto":
        return config.jobs
    if config.device.startswith("cuda") or (config.device == "auto" and torch.cuda.is_available()):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // config.threads, 1)


def shard(runs: Sequence[Run], config: CompareConfig) -> list[Run]:
    """This machine's part of the runs. Cells stay whole, so that students are trained where their teachers are."""
    mine, count = config.part()
    runs = distinct(runs)
    cells = {cell: number for number, cell in enumerate(dict.fromkeys(run.cell for run in runs))}
    return [run for run in runs if cells[run.cell] % count == mine]
