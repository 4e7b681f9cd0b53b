from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import record
from pkdot.comparison.compare import compare
from pkdot.comparison.config import CompareConfig
from pkdot.comparison.dry_run import dry_run
from pkdot.comparison.grid_source import grid_of
from pkdot.comparison.plan import Plan
from pkdot.comparison.report.scores import Score, read_scores
from pkdot.comparison.results import scores
from pkdot.comparison.run import Run
from pkdot.comparison.tuning import compared_runs, to_choose
from tests.support import write_vectors

ROWS = 2 * 6  # two seeds of teacher, none, all labels, self-training, kd from prevalent teacher and kd


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> CompareConfig:
    folder = tmp_path_factory.mktemp("run")
    data = str(write_vectors(folder / "toy"))
    config = CompareConfig(data=(data,), methods=("kd",), labels=(0.4,), epochs=1, batch_size=16, seeds=2, jobs=2)
    config = replace(config, tune_seeds=1, tune=(0.4, 8.0), out=folder / "out")
    compare(config, "pkdot-compare")
    return config


def plan_of(config: CompareConfig) -> Plan:
    return Plan(grid_of(config), config)


def scored(plan: Plan) -> list[Score]:
    runs: list[Run] = compared_runs(plan)
    return scores(runs)


def test_what_is_recorded_is_not_repeated_and_scores_the_same(run: CompareConfig, tmp_path: Path) -> None:
    weights = tmp_path / "weights.json"
    recorded = tmp_path / "recorded.csv"
    record.write_record(plan_of(run), recorded, weights)
    plan = plan_of(replace(run, out=tmp_path / "again"))
    assert record.lay_out(plan, recorded, weights) > 0
    assert scored(plan) == scored(plan_of(run))
    assert len(scored(plan)) == ROWS
    assert [to_choose(block) for block in plan.blocks] == [[]]
    assert "to do" not in dry_run(plan.config)
    assert record.lay_out(plan, run.out / "scores.csv", weights) == 0


def test_a_record_of_the_same_scores_stays_as_it_is(run: CompareConfig, tmp_path: Path) -> None:
    recorded, weights = tmp_path / "recorded.csv", tmp_path / "weights.json"
    record.write_record(plan_of(run), recorded, weights)
    assert read_scores(recorded) == scored(plan_of(run))
    assert '"factor"' in weights.read_text()
    assert '"runs"' not in weights.read_text()
    older = "\n".join(line.rpartition(",")[0] for line in recorded.read_text().splitlines())
    recorded.write_text(older)  # before there was a column for pooled folds
    record.write_record(plan_of(run), recorded, weights)
    assert recorded.read_text() == older
    recorded.write_text(older.replace(",kd,", ",sp,"))
    record.write_record(plan_of(run), recorded, weights)
    assert recorded.read_bytes() == (run.out / "scores.csv").read_bytes()


def test_a_cell_with_an_unrecorded_run_is_trained_again(run: CompareConfig, tmp_path: Path) -> None:
    lines = (run.out / "scores.csv").read_text().splitlines()
    short = tmp_path / "scores.csv"
    short.write_text("\n".join(line for line in lines if ",kd,0,1," not in line))
    plan = plan_of(replace(run, out=tmp_path / "again"))
    record.lay_out(plan, short, tmp_path / "none.json")
    assert {score.seed for score in scored(plan)} == {0}
    assert all(to_choose(block) for block in plan.blocks)


def test_existing_runs_win_over_the_record(run: CompareConfig, tmp_path: Path) -> None:
    plan = plan_of(replace(run, out=tmp_path / "again"))
    begun = next(own for block in plan.blocks for own in block.testing({}) if own.cell.seed == 1)
    begun.folder.mkdir(parents=True)
    record.lay_out(plan, run.out / "scores.csv", tmp_path / "none.json")
    assert {score.seed for score in scored(plan)} == {0}


def test_without_a_record_everything_is_trained(run: CompareConfig, tmp_path: Path) -> None:
    plan = plan_of(replace(run, out=tmp_path / "again"))
    assert record.lay_out(plan, tmp_path / "none.csv", tmp_path / "none.json") == 0
    assert scored(plan) == []
