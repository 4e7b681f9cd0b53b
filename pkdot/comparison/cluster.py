"""Stages as job arrays: on SLURM through submitit, or as the same jobs on this machine."""

import logging
from dataclasses import replace

from pkdot.comparison.config import CompareConfig, RunsFailed
from pkdot.comparison.grid_source import grid_of
from pkdot.comparison.plan import Plan
from pkdot.comparison.run import Stage
from pkdot.comparison.stages import run_stages

log = logging.getLogger(__name__)


def run_on_cluster(config: CompareConfig) -> None:
    """Submit each stage that is asked for as an array of shards, and wait for it before the next.

    Raises:
        ValueError: submitit is not installed, or does not know an option.
        RunsFailed: jobs failed; the same command resumes them.
    """
    try:
        import submitit
    except ImportError as error:
        raise ValueError("--cluster needs submitit; pip install 'pkdot[cluster]'.") from error
    at_a_time = 1 if config.jobs == "auto" else config.jobs
    executor = submitit.AutoExecutor(folder=config.out / "jobs", cluster=config.cluster)
    try:
        cores = at_a_time * config.threads
        executor.update_parameters(name="pkdot-compare", cpus_per_task=cores, **_options(config))
    except (NameError, TypeError, ValueError) as error:
        raise ValueError(f"cluster options: {error}") from error
    stages: tuple[Stage, ...] = ("tune", "test")
    for stage in stages:
        if config.stage not in ("all", stage):
            continue
        alone = replace(config, stage=stage, cluster="none", jobs=at_a_time)
        shards = [replace(alone, shard=f"{number}/{config.array}") for number in range(1, config.array + 1)]
        jobs = executor.map_array(run_shard, shards)
        log.info("%s: %d jobs submitted, the first is %s", stage, len(jobs), jobs[0].job_id)
        failed = [job for job in jobs if job.exception() is not None]
        if failed:
            raise RunsFailed(f"{len(failed)} of {len(jobs)} jobs failed, the first: {failed[0].exception()}")


def run_shard(config: CompareConfig) -> None:
    """What a job does: its part of the runs."""
    run_stages(Plan(grid_of(config), config))


def _options(config: CompareConfig) -> dict[str, int | str]:
    options: dict[str, int | str] = {}
    for option in config.cluster_options:
        name, _, value = option.partition("=")
        options[name] = int(value) if value.isdigit() else value
    return options
