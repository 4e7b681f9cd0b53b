"""What is asked of submitit: an array of shards for each stage, one stage after the other."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from pkdot.comparison.cluster import run_on_cluster, run_shard
from pkdot.comparison.config import CompareConfig, RunsFailed


class Job:
    """A job that is done at once."""

    def __init__(self, error: Exception | None) -> None:
        self.job_id, self.error = "17_0", error

    def exception(self) -> Exception | None:
        return self.error


class Executor:
    """Notes what it is told; ``failing`` shards end with an error."""

    made: ClassVar[list["Executor"]] = []
    failing: ClassVar[tuple[str, ...]] = ()

    def __init__(self, folder: Path, cluster: str) -> None:
        self.folder, self.cluster = folder, cluster
        self.parameters: dict[str, Any] = {}
        self.arrays: list[tuple[Any, list[CompareConfig]]] = []
        self.made.append(self)

    def update_parameters(self, **parameters: Any) -> None:
        if "nonsense" in parameters:
            raise NameError("Unknown argument 'nonsense'")
        self.parameters |= parameters

    def map_array(self, function: Any, shards: list[CompareConfig]) -> list[Job]:
        self.arrays.append((function, shards))
        failing = self.failing
        return [Job(RuntimeError(f"shard {s.shard} fell over") if s.shard in failing else None) for s in shards]


@pytest.fixture
def executors(monkeypatch: pytest.MonkeyPatch) -> list[Executor]:
    module = ModuleType("submitit")
    module.AutoExecutor = Executor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "submitit", module)
    monkeypatch.setattr(Executor, "made", [])
    return Executor.made


def config_of(out: Path, **settings: object) -> CompareConfig:
    return CompareConfig(out=out, cluster="slurm", array=3, **settings)  # type: ignore[arg-type]


def test_both_stages_are_arrays_of_all_shards(executors: list[Executor], tmp_path: Path) -> None:
    config = config_of(tmp_path, threads=2, jobs=3, cluster_options=("slurm_partition=gpu", "timeout_min=240"))
    run_on_cluster(config)
    (executor,) = executors
    assert (executor.folder, executor.cluster) == (tmp_path / "jobs", "slurm")
    assert executor.parameters == {
        "name": "pkdot-compare",
        "cpus_per_task": 6,
        "slurm_partition": "gpu",
        "timeout_min": 240,
    }
    assert [function for function, _ in executor.arrays] == [run_shard, run_shard]
    for stage, (_, shards) in zip(("tune", "test"), executor.arrays, strict=True):
        assert [shard.shard for shard in shards] == ["1/3", "2/3", "3/3"]
        for shard in shards:
            assert shard == replace(config, stage=stage, cluster="none", shard=shard.shard)  # type: ignore[arg-type]


@pytest.mark.parametrize(("stage", "stages"), [("tune", ["tune"]), ("test", ["test"]), ("report", [])])
def test_a_stage_alone_is_one_array(executors: list[Executor], tmp_path: Path, stage: str, stages: list[str]) -> None:
    run_on_cluster(config_of(tmp_path, stage=stage))
    assert [shards[0].stage for _, shards in executors[0].arrays] == stages
    assert executors[0].parameters["cpus_per_task"] == 1


def test_failed_jobs_are_reported_and_stop_the_next_stage(
    executors: list[Executor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Executor, "failing", ("2/3", "3/3"))
    with pytest.raises(RunsFailed, match="2 of 3 jobs failed, the first: shard 2/3 fell over"):
        run_on_cluster(config_of(tmp_path))
    assert len(executors[0].arrays) == 1


def test_an_unknown_option_is_named(executors: list[Executor], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cluster options: Unknown argument 'nonsense'"):
        run_on_cluster(config_of(tmp_path, cluster_options=("nonsense=1",)))
    assert not executors[0].arrays


def test_without_submitit_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"needs submitit; pip install 'pkdot\[cluster\]'"):
        run_on_cluster(config_of(tmp_path))
