"""The weight of a method is the one that validated best, on seeds that test nothing."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pkdot.comparison.config import CompareConfig
from pkdot.comparison.execution import train
from pkdot.comparison.grid_source import grid_of
from pkdot.comparison.plan import Plan
from pkdot.comparison.run import Run
from pkdot.comparison.tuning import choose_factors, to_choose
from tests.support import write_vectors

FACTORS = (0.1, 1.0, 5.0)

# The controls have weights of their own here, so that one method's is chosen.
GRID = """
sets.toy = {{ data.source = "{data}", optim = {{ epochs = 1, batch_size = 16 }}, model.width = 4 }}
entries.kd = {{ distill.method = "kd" }}
entries.self-training = {{ teacher = "self", distill = {{ method = "kd", weight = 1.0 }} }}
entries."kd from prevalent teacher" = {{ teacher = "prevalent", distill = {{ method = "kd", weight = 1.0 }} }}
"""


def plan_of(folder: Path, **settings: object) -> Plan:
    data = write_vectors(folder / "toy")
    (folder / "grid.toml").write_text(GRID.format(data=data))
    usual: dict[str, object] = {"tune": FACTORS, "tune_seeds": 3, "out": folder / "out"}
    config = CompareConfig(grid=folder / "grid.toml", **(usual | settings))  # type: ignore[arg-type]
    return Plan(grid_of(config), config)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """With all that the choice is made by."""
    plan = plan_of(tmp_path_factory.mktemp("tuned"))
    runs = to_choose(plan.block("toy", "all labels"))
    assert {run.factor for run in runs if run.entry == "kd"} == set(FACTORS)
    for run in runs:
        train(run)
    return plan


def choose(plan: Plan, validation: dict[float, list[float]], test: dict[float, float] | None = None) -> float:
    """The factor that is chosen where the runs of each had these scores."""
    scores = {factor: iter(values) for factor, values in validation.items()}
    runs = plan.block("toy", "all labels").deciding(["kd"])
    for run in runs:
        if run.factor is None:
            continue
        path = run.folder / "result.json"
        result = json.loads(path.read_text())
        result["validation"]["score"] = next(scores[run.factor])
        result["metrics"] |= {"accuracy": (test or {}).get(run.factor, 0.5)}
        path.write_text(json.dumps(result))
    for path in plan.config.out.rglob("weights.json"):
        path.unlink()
    chosen = choose_factors(plan.block("toy", "all labels"))
    assert chosen == choose_factors(plan.block("toy", "all labels"))
    assert chosen.keys() == {"kd"}
    return chosen["kd"]


@pytest.mark.parametrize("best", FACTORS)
@pytest.mark.parametrize("worst", FACTORS)
def test_the_factor_with_the_best_mean_validation_score_is_chosen(tuned: Plan, best: float, worst: float) -> None:
    if best == worst:
        return
    validation = {factor: [0.5, 0.6, 0.7] for factor in FACTORS}
    validation[best], validation[worst] = [0.7, 0.7, 0.7], [0.9, 0.1, 0.2]
    assert choose(tuned, validation) == best


def test_the_test_split_does_not_influence_the_choice(tuned: Plan) -> None:
    validation = {0.1: [0.5] * 3, 1.0: [0.6] * 3, 5.0: [0.4] * 3}
    assert choose(tuned, validation, test={0.1: 0.9, 1.0: 0.1, 5.0: 1.0}) == 1.0


def test_a_negative_score_is_better_than_a_more_negative_one(tuned: Plan) -> None:
    assert choose(tuned, {0.1: [-0.3] * 3, 1.0: [-0.2] * 3, 5.0: [-0.1] * 3}) == 5.0


def test_of_equal_factors_the_smaller_is_chosen(tuned: Plan) -> None:
    assert choose(tuned, {0.1: [0.2] * 3, 1.0: [0.6] * 3, 5.0: [0.6] * 3}) == 1.0


def test_a_factor_with_a_run_without_a_score_is_not_chosen(tuned: Plan) -> None:
    assert choose(tuned, {0.1: [0.2] * 3, 1.0: [0.9, math.nan, 0.9], 5.0: [0.3] * 3}) == 5.0


def test_only_tested_runs_get_the_chosen_factor(tuned: Plan) -> None:
    runs = tuned.block("toy", "all labels").testing({"kd": 5.0})
    balances = {run.entry: run.config.distill.balance for run in runs if not run.is_teacher}  # type: ignore[union-attr]
    assert balances.pop("kd") == 5.0
    assert set(balances.values()) == {"auto"}
    tried = tuned.block("toy", "all labels").deciding(["kd"])
    assert all(run.config.distill.balance == run.factor for run in tried if run.factor)  # type: ignore[union-attr]
    places = {run.folder.relative_to(tuned.config.out).parts[4] for run in tried if run.factor}
    assert places == {"kd-x0.1", "kd-x1", "kd-x5"}
    assert "kd" in {run.folder.relative_to(tuned.config.out).parts[4] for run in runs}


def drawn(run: Run) -> set[int]:
    """The seeds by which a run is made: of its weights, and of its split or, with folds, of its labels."""
    data = run.config.data
    return {run.config.run.seed, data.label_seed if data.folds else data.split_seed}  # type: ignore[arg-type]


@pytest.mark.parametrize("folds", [0, 2, 5, "loso"])
@pytest.mark.parametrize(
    ("first_seed", "seeds", "tune_seeds"), [(0, 5, 2), (0, 1, 9), (7, 6, 3), (99_996, 4, 5), (50_000, 2, 1)]
)
def test_seeds_that_choose_weights_are_never_tested(
    tmp_path: Path, folds: int | str, first_seed: int, seeds: int, tune_seeds: int
) -> None:
    plan = plan_of(tmp_path, first_seed=first_seed, seeds=seeds, tune_seeds=tune_seeds)
    plan.grid.sets["toy"]["data"]["folds"] = folds  # type: ignore[index]
    plan = Plan(plan.grid, plan.config)
    tuning = plan.block("toy", "all labels").deciding(["kd"])
    testing = plan.block("toy", "all labels").testing({})
    choosing, tested = (set().union(*map(drawn, runs)) for runs in (tuning, testing))
    assert not choosing & tested
    # Neither do two repetitions, nor two folds of one.
    cells = {(run.cell.fold, run.cell.seed): drawn(run) for run in testing}
    assert len(cells) == seeds * plan.sets["toy"].folds
    assert all(one.isdisjoint(other) for one, other in itertools.pairwise(cells.values()))
    assert sum(map(len, cells.values())) == len(tested) == len(cells)
    assert len(choosing) == tune_seeds
    assert all(drawn(run) == cells[run.cell.fold, run.cell.seed] for run in testing)


@pytest.mark.parametrize(("first_seed", "seeds"), [(0, 100_001), (100_000, 1), (99_999, 2)])
def test_seeds_that_overlap_with_the_tuning_seeds_are_refused(first_seed: int, seeds: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        CompareConfig(first_seed=first_seed, seeds=seeds)


def test_a_data_sets_own_seeds_that_overlap_with_the_tuning_seeds_are_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, first_seed=99_999, seeds=1)
    grid = replace(plan.grid, seeds={"toy": 2})
    with pytest.raises(ValueError, match=r"sets\.toy\.seeds 2"):
        Plan(grid, plan.config)
    last = Plan(replace(grid, seeds={"toy": 1}), plan.config).block("toy", "all labels")
    assert {run.cell.seed for run in last.testing({})} == {99_999}
