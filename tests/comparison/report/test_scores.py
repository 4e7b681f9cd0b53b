import math
from pathlib import Path

import pytest

from pkdot.comparison.report.analysis import analyse
from pkdot.comparison.report.scores import Score, blocks, read_scores, write_scores
from tests.comparison.toys import comparison, score


def test_runs_are_paired_by_fold_and_seed() -> None:
    scores = [score("ot", 0.1 * seed, seed=seed) for seed in (2, 0, 1)]
    scores += [score("none", 0.01 * seed, seed=seed) for seed in (1, 2, 3)]
    (block,) = blocks(scores)
    assert list(block.paired("ot", "none").differences) == pytest.approx([0.09, 0.18])
    assert list(block.paired("ot", "none").splits) == [0, 1]
    assert (block.missing("ot"), block.missing("none"), block.missing("kd")) == (1, 1, 4)


def test_a_run_without_a_finite_score_is_missing() -> None:
    (block,) = blocks([score("ot", math.nan), score("none", 0.5), score("ot", 0.6, seed=1), score("none", 0.5, seed=1)])
    assert block.missing("ot") == 1
    assert list(block.paired("ot", "none").differences) == pytest.approx([0.1])


def test_an_entry_that_never_ran_has_no_pairs() -> None:
    (block,) = blocks([score("none", 0.5)])
    pairs = block.paired("ot", "none")
    assert pairs.values.shape == (2, 0)
    assert math.isnan(pairs.ratio)


def test_seeds_are_splits_without_folds_and_repetitions_with_them() -> None:
    hold_out, folds = (analyse(comparison({"ot": 0.02}, folds=folds, seeds=3)).blocks[0] for folds in (1, 5))
    (line,) = hold_out.methods
    assert (line.to_none.runs, line.to_none.splits) == (3, 3)
    (line,) = folds.methods
    assert (line.to_none.runs, line.to_none.splits) == (15, 5)


def test_seeds_on_the_same_samples_are_one_split_without_a_test() -> None:
    scores = [
        score(entry, 0.5 + 0.01 * seed, seed=seed, split="its own") for entry in ("none", "ot") for seed in range(9)
    ]
    (block,) = blocks(scores)
    assert list(block.paired("ot", "none").splits) == [0] * 9
    (line,) = analyse(scores).blocks[0].methods
    assert (line.to_none.runs, line.to_none.splits, line.verdict) == (9, 1, "too few splits")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "no run to report"),
        ([score("ot", 0.5), score("ot", 0.6)], "toy, few, ot, fold 0, seed 0: scored twice"),
        ([score("ot", 0.5), score("ot", math.nan)], "scored twice"),
        ([score("ot", 0.5), score("kd", 0.5, metric="qwk")], "scored by 'qwk'; expected 'accuracy'"),
        ([score("ot", 0.5), score("none", 0.5, split="other")], "toy, few, none, fold 0, seed 0: on other samples"),
        ([score("ot", 0.5, train_samples=0)], "0 training and 100 test samples"),
    ],
)
def test_scores_that_do_not_fit_together_are_named(scores: list[Score], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        blocks(scores)


def test_scores_on_disk_read_back_as_they_were(tmp_path: Path) -> None:
    scores = [*comparison({"ot+kd, odd": 1 / 3}), score('kd, "best"', 5e-324, fold=3, seed=-1)]
    write_scores(scores, tmp_path / "scores.csv")
    assert read_scores(tmp_path / "scores.csv") == scores
    write_scores([score("kd", math.nan)], tmp_path / "scores.csv")
    assert math.isnan(read_scores(tmp_path / "scores.csv")[0].value)
    write_scores([], tmp_path / "scores.csv")
    assert read_scores(tmp_path / "scores.csv") == []


@pytest.mark.parametrize(
    ("old", "new"), [(",100,", ","), (",100,", ",many,"), ("value", "score"), ("False", "no"), ("False", "")]
)
def test_a_bad_line_of_scores_is_named(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "scores.csv"
    write_scores([score("kd", 0.5)], path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=r"scores\.csv, line 2 is not a run's score"):
        read_scores(path)
