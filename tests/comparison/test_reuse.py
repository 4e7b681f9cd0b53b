"""What a comparison takes over from earlier runs: what would be made the same way now, and nothing else."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from pkdot.comparison import execution
from pkdot.comparison.compare import compare
from pkdot.comparison.config import CompareConfig
from pkdot.comparison.grid_source import grid_of
from pkdot.comparison.plan import Plan
from pkdot.comparison.reuse import reused
from pkdot.comparison.stages import planned
from pkdot.comparison.tuning import frozen_factors
from pkdot.storage import locked
from tests.support import rows_of, write_vectors

GRID = """
[sets.toy]
data = {{ source = "{data}" }}
optim = {{ epochs = 1, batch_size = 16 }}
[entries.kd]
distill = {{ method = "kd", kd_temperature = {temperature} }}
[entries.hint]
distill = {{ method = "hint", weight = {weight} }}
"""
TUNED, FIXED = ("kd", "self-training", "kd-from-prevalent-teacher"), ("none", "hint")
TEACHERS = ("teacher-privileged", "teacher-prevalent", "teacher-self")


def config_of(folder: Path, *, temperature: float = 1.0, weight: float = 0.5, **settings: object) -> CompareConfig:
    (folder / "grid.toml").write_text(GRID.format(data=folder / "toy", temperature=temperature, weight=weight))
    usual: dict[str, object] = {"seeds": 1, "tune_seeds": 1, "tune": (0.5, 8.0), "jobs": 2, "out": folder / "out"}
    return CompareConfig(grid=folder / "grid.toml", **(usual | settings))  # type: ignore[arg-type]


def made(out: Path) -> dict[Path, int]:
    return {path.parent: path.stat().st_mtime_ns for path in out.rglob("result.json")}


def new_entries(before: dict[Path, int], out: Path) -> list[str]:
    """The entries of the runs that have been made since, an entry as often as it has new runs."""
    after = made(out)
    assert {path: after[path] for path in before} == before, "an earlier run was made again"
    return sorted(f"{path.parts[-4]}/{path.parts[-2]}" for path in after if path not in before)


def line_of(config: CompareConfig) -> str:
    stages = planned(Plan(grid_of(config), config))
    return reused(run for runs in stages.values() for run in runs)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_vectors(tmp_path / "toy")
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a comparison that is done; tests add to it what they change, and nothing is taken away."""
    folder = tmp_path_factory.mktemp("world")
    write_vectors(folder / "toy")
    compare(config_of(folder), "first")
    return folder


def test_the_same_command_again_trains_nothing(finished: Path) -> None:
    before, config = made(finished / "out"), config_of(finished)
    count = len(planned(Plan(grid_of(config), config))["test"])
    assert f"{count} of {count} runs are reused, 0 are new." == line_of(replace(config, stage="test"))
    compare(config, "again")
    assert new_entries(before, config.out) == []


def test_other_epochs_retrain_all_runs_and_report_only_those(finished: Path) -> None:
    before, config = made(finished / "out"), config_of(finished)
    text = config.grid.read_text().replace("epochs = 1", "epochs = 2")  # type: ignore[union-attr]
    (finished / "grid.toml").write_text(text)
    assert line_of(config).startswith("0 of ")
    assert "optim.epochs 1 instead of 2" in line_of(config)
    report = compare(config, "more epochs").read_text()
    tuning = [f"tune/{entry}-x{factor}" for entry in TUNED for factor in ("0.5", "8")]
    testing = [f"test/{entry}" for entry in (*TUNED, *FIXED)]
    teachers = [f"{stage}/{teacher}" for stage in ("tune", "test") for teacher in TEACHERS]
    # With one architecture for all, the two controls are the same runs.
    shared = [place for place in (*tuning, *testing, *teachers) if "prevalent" not in place]
    assert new_entries(before, config.out) in (sorted([*tuning, *testing, *teachers]), sorted(shared))
    assert "runs are finished" in report
    plan = Plan(grid_of(config), config)
    runs = plan.block("toy", "all labels").testing(frozen_factors(plan.block("toy", "all labels")))
    rows = [rows_of(run.folder / "metrics.jsonl") for run in runs]
    assert {len(row) for row in rows} == {2}


def test_another_setting_of_an_entry_retrains_only_its_runs(finished: Path) -> None:
    before, config = made(finished / "out"), config_of(finished, weight=0.7)
    assert "1 are new: earlier ones have distill.weight 0.5 instead of 0.7." in line_of(config)
    compare(config, "another weight")
    assert new_entries(before, config.out) == ["test/hint"]


def test_another_setting_of_a_tuned_entry_chooses_its_weight_again(finished: Path) -> None:
    before, config = made(finished / "out"), config_of(finished, temperature=3.0)
    compare(config, "another temperature")
    assert new_entries(before, config.out) == ["test/kd", "tune/kd-x0.5", "tune/kd-x8"]
    choice = json.loads(next(config.out.rglob("weights.json")).read_text())
    plan = Plan(grid_of(config), config)
    assert choice["kd"]["factor"] == frozen_factors(plan.block("toy", "all labels"))["kd"]
    # Back to the first temperature: all of its runs are there, and the choice among them is made once more.
    before, first = made(config.out), config_of(finished)
    compare(first, "the first temperature")
    assert new_entries(before, config.out) == []


def test_only_a_new_factor_is_tried(finished: Path) -> None:
    before, config = made(finished / "out"), config_of(finished, tune=(0.5, 3.0))
    report = compare(config, "another factor").read_text()
    fresh = new_entries(before, config.out)
    assert [place for place in fresh if place.startswith("tune/")] == sorted(
        f"tune/{entry}-x3" for entry in TUNED if f"tune/{entry}-x3" in fresh
    )
    assert "tune/kd-x3" in fresh
    assert {place for place in fresh if place.startswith("test/")} <= {f"test/{entry}" for entry in TUNED}
    plan = Plan(grid_of(config), config)
    factors = frozen_factors(plan.block("toy", "all labels"))
    assert set(factors.values()) <= {0.5, 3.0}
    assert f"kd x{factors['kd']:g}" in report
    tested = {run.entry: run for run in plan.block("toy", "all labels").testing(factors)}
    for entry, factor in factors.items():
        assert tested[entry].config.distill.balance == factor  # type: ignore[union-attr]
        assert tested[entry].done


def test_more_seeds_reuse_the_finished_ones(finished: Path) -> None:
    before, config = made(finished / "out"), config_of(finished, seeds=2)
    compare(config, "more seeds")
    fresh = new_entries(before, config.out)
    assert not [place for place in fresh if place.startswith("tune/")]
    assert {path.parts[-3] for path in made(config.out) if path not in before} == {"fold0-seed1"}


def test_a_changed_byte_of_the_data_retrains_all_runs(world: Path) -> None:
    config = replace(config_of(world), methods=(), tune_seeds=0)
    compare(config, "first")
    before = made(config.out)
    array = world / "toy" / "strong.npy"
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    assert line_of(config) == (
        f"0 of {len(before)} runs are reused, {len(before)} are new: earlier ones have other data, another teacher."
    )
    compare(config, "changed")
    assert len(made(config.out)) == 2 * len(before)


@pytest.mark.parametrize("odd", ["", "[]", "3", "null", '{"fingerprint": "another"}'])
def test_a_run_with_a_damaged_result_is_trained_again(world: Path, odd: str) -> None:
    config = config_of(world, tune_seeds=0)
    plan = Plan(grid_of(config), config)
    (run,) = [run for run in plan.block("toy", "all labels").testing({}) if run.entry == "none"]
    execution.train(run)
    result = run.folder / "result.json"
    whole = result.read_text()
    result.write_text(odd)
    assert not run.done
    execution.train(run)
    assert json.loads(result.read_text())["metrics"] == json.loads(whole)["metrics"]


def test_runs_of_an_older_version_are_reported(world: Path) -> None:
    config = config_of(world, tune_seeds=0)
    plan = Plan(grid_of(config), config)
    run = plan.block("toy", "all labels").testing({})[0]
    run.place.mkdir(parents=True)
    (run.place / "result.json").write_text("{}")
    assert line_of(config).endswith("earlier ones have no fingerprint, since an older version made them.")


def run_command(config: CompareConfig, answer: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        compare(config, "pkdot-compare")
        answer.put("")
    except BaseException as error:
        answer.put(repr(error))


def test_two_commands_on_one_folder_share_its_runs(world: Path) -> None:
    config = config_of(world, tune_seeds=0, jobs=1)
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    commands = [context.Process(target=run_command, args=(config, answers)) for _ in range(2)]
    for command in commands:
        command.start()
    for command in commands:
        command.join()
    assert [answers.get() for _ in commands] == ["", ""]
    runs = Plan(grid_of(config), config).block("toy", "all labels").testing({})
    assert all(run.done for run in runs)
    assert all([row["epoch"] for row in rows_of(run.folder / "metrics.jsonl")] == [0] for run in runs)
    assert not [path for path in config.out.rglob("*") if path.name.endswith((".part", ".error.txt", ".log"))]
    assert (config.out / "report.md").exists()


def test_a_run_that_another_command_trains_is_waited_for(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(world, tune_seeds=0)
    plan = Plan(grid_of(config), config)
    (run,) = [run for run in plan.block("toy", "all labels").testing({}) if run.entry == "none"]
    run.folder.mkdir(parents=True)
    waits: list[float] = []
    lock = locked(run.folder)

    def other_process_ends(seconds: float) -> None:
        waits.append(seconds)
        lock.__exit__(None, None, None)

    lock.__enter__()
    monkeypatch.setattr(execution.time, "sleep", other_process_ends)
    assert execution.run_all([run], jobs=1, keep_weights=False, title="") == []
    assert waits == [execution.LOOK_AGAIN_S]
    assert run.done
