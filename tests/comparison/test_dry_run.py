"""A plan in few lines: counts, the first folders, and the time that is left at the pace of what is done."""

import json
import os
from pathlib import Path

import pytest

from pkdot.comparison.compare import compare
from pkdot.comparison.config import CompareConfig
from pkdot.comparison.dry_run import SHOWN, dry_run
from pkdot.comparison.grid_source import grid_of
from pkdot.comparison.plan import Plan
from pkdot.comparison.run import Run
from pkdot.comparison.stages import planned
from tests.support import write_vectors


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vectors(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture
def config(vectors: Path, tmp_path: Path) -> CompareConfig:
    return CompareConfig(data=(str(vectors),), methods=("ot", "kd"), seeds=4, tune_seeds=0, out=tmp_path, jobs=2)


def runs_of(config: CompareConfig) -> list[Run]:
    return [run for runs in planned(Plan(grid_of(config), config)).values() for run in runs]


def finish(run: Run, seconds: float) -> None:
    """Leave the folder of a run that took so long."""
    run.folder.mkdir(parents=True)
    (run.folder / "config.toml").write_text("")
    (run.folder / "result.json").write_text(json.dumps({"fingerprint": run.fingerprint.digest}))
    os.utime(run.folder / "config.toml", (1000, 1000))
    os.utime(run.folder / "result.json", (1000 + seconds, 1000 + seconds))


def test_a_large_plan_is_counted_and_its_first_runs_are_named(config: CompareConfig) -> None:
    config.labels = (1.0, 0.5)
    runs = runs_of(config)
    told = dry_run(config).splitlines()
    blocks = [line for line in told if line.startswith("test: toy / ")]
    counts = [int(line.rpartition(": ")[2].split()[0]) for line in blocks]
    assert len(blocks) == 2
    assert sum(counts) == len(runs) > 2 * SHOWN
    folders = [line.removeprefix("to do: ") for line in told if line.startswith("to do: ")]
    assert folders == [*(str(run.folder) for run in runs[:SHOWN]), f"{len(runs) - SHOWN} more"]
    assert told[-2:] == [
        f"together: {len(runs)} runs, 0 of them done",
        "time: unknown yet for teachers on toy, students on toy",
    ]


def test_the_remaining_time_is_estimated_from_finished_runs(config: CompareConfig) -> None:
    runs = runs_of(config)
    teachers, students = ([run for run in runs if run.is_teacher is is_teacher] for is_teacher in (True, False))
    for seconds, run in zip((60, 9000, 120), teachers, strict=False):  # one was stopped for a while
        finish(run, seconds)
    assert "unknown yet for students on toy" in dry_run(config)
    finish(students[0], 300)
    minutes = round(((len(teachers) - 3) * 120 + (len(students) - 1) * 300) / 2 / 60)
    told = dry_run(config).splitlines()
    assert told[-2:] == [
        f"together: {len(runs)} runs, 4 of them done",
        f"time: about {minutes} minutes with 2 at a time",
    ]


def test_runs_without_file_times_are_left_out_of_the_estimate(config: CompareConfig) -> None:
    runs = runs_of(config)
    finish(next(run for run in runs if run.is_teacher), 0)
    finish(next(run for run in runs if not run.is_teacher), 60)
    assert dry_run(config).splitlines()[-1].endswith("; unknown yet for teachers on toy")


def test_a_finished_plan_has_nothing_to_do(config: CompareConfig) -> None:
    runs = runs_of(config)
    for run in runs:
        finish(run, 60)
    assert dry_run(config).splitlines()[-1] == f"together: {len(runs)} runs, {len(runs)} of them done"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("device", "cuda:99", "device 'cuda:99' is not available"),
        ("device", "meta", "device 'meta' is not available"),
        ("threads", 4096, "threads .* is outside"),
        ("jobs", 4096, "threads .* is outside"),
    ],
)
def test_unusable_settings_are_refused_before_the_first_run(
    config: CompareConfig, name: str, value: object, told: str
) -> None:
    setattr(config, name, value)
    with pytest.raises(ValueError, match=told):
        compare(config, "")
    assert list(config.out.iterdir()) == []


def test_a_comparison_refuses_torchrun(config: CompareConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="torchrun started 2 processes"):
        compare(config, "")
    with pytest.raises(ValueError, match="config is 3; expected CompareConfig"):
        compare(3, "")  # type: ignore[arg-type]
