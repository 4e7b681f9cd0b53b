import csv
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import accuracy_score, cohen_kappa_score

from pkdot.cli.compare import main
from pkdot.comparison.compare import compare
from pkdot.comparison.config import CompareConfig
from pkdot.comparison.report.analysis import analyse
from pkdot.comparison.report.inference import resampled_mean
from pkdot.comparison.report.pooling import Answers, contributions, pooled_where_too_small, read_answers
from pkdot.comparison.report.scores import Score, read_scores, write_scores
from pkdot.data.batch import Modality, Schema
from pkdot.tasks import Task
from pkdot.training.evaluation import Predictions, write_predictions
from tests.comparison.toys import score
from tests.support import write_vectors

LEVELS = ("none", "weak", "strong")


def ccc(prediction: np.ndarray, target: np.ndarray) -> float:
    """Lin's formula, for one target."""
    (first, shared), (_, second) = np.cov(prediction, target, ddof=0)
    return float(2 * shared / (first + second + (prediction.mean() - target.mean()) ** 2))


def values_of(target: np.ndarray, prediction: np.ndarray, classes: int = 0) -> list[Answers]:
    """A fold for each sample."""
    pairs = zip(target.reshape(-1, 1, 1), prediction.reshape(-1, 1, 1), strict=True)
    return [Answers(own, answer, classes) for own, answer in pairs]


def predictions_csv(path: Path, target: list[float], answer: list[float], *, classes: tuple[str, ...] = ()) -> Path:
    """As a run writes it; NaN stands for a sample without a label."""
    kind = "ordinal" if classes else "regression"
    task = Task(kind, ("pain",), classes)
    truth, given = torch.tensor(target), torch.tensor(answer)
    labelled, n = ~truth.isnan(), len(target)
    truth = truth.nan_to_num()
    logits = torch.nn.functional.one_hot(given.long(), len(classes)).float() if classes else given[:, None]
    ids = tuple(f"s{i}" for i in range(n))
    known = Predictions(ids, logits, torch.zeros(n, 2), {}, truth if classes else truth[:, None], labelled)
    schema = Schema("toy", task, {"weak": Modality("vector", (4,))}, ("weak",), ())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(path, known, ["p"] * n, schema)
    return path


def runs_of(
    folder: Path, folds: dict[int, list[float]], *, metric: str = "ccc", seeds: int = 1, seed: int = 0
) -> list[tuple[Score, Path]]:
    """Runs of three entries on folds with these targets; the values of the scores are nonsense, -9."""
    generator = np.random.default_rng(seed)
    found = []
    for number, (fold, target) in itertools.product(range(seeds), folds.items()):
        for entry in ("none", "ot", "teacher"):
            answer = [float(value) for value in np.array(target) + generator.normal(size=len(target))]
            path = predictions_csv(folder / f"{entry}-{fold}-{number}" / "predictions.csv", target, answer)
            given = score(entry, -9.0, fold=fold, seed=number, metric=metric, split=f"fold {fold}")
            found.append((replace(given, train_samples=40, test_samples=len(target)), path))
    return found


def test_a_pooled_score_is_the_metric_over_the_predictions_of_all_folds(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {0: [0.1, 0.9, 0.4], 1: [0.5], 2: [0.3, 0.3], 3: [1.5]}, seeds=2)
    found = pooled_where_too_small(runs)
    assert all(own.pooled for own in found)
    assert [replace(own, value=0.0, pooled=False) for own in found] == [replace(own, value=0.0) for own, _ in runs]
    for entry, seed in itertools.product(("none", "ot", "teacher"), (0, 1)):
        rows = [
            row
            for own, path in runs
            if (own.entry, own.seed) == (entry, seed)
            for row in csv.DictReader(path.open(encoding="utf-8"))
        ]
        target, answer = (np.array([float(row[name]) for row in rows]) for name in ("pain", "predicted_pain"))
        values = [own.value for own in found if (own.entry, own.seed) == (entry, seed)]
        assert len(values) == 4
        assert np.mean(values) == pytest.approx(ccc(answer, target))


def test_the_table_has_the_pooled_score_and_says_so(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {fold: [float(fold)] for fold in range(8)}, seeds=2)
    (block,) = analyse(pooled_where_too_small(runs)).blocks
    assert (block.folds, block.runs, block.unscored) == (8, 16, 0)
    (line,) = block.methods
    assert (line.level.runs, line.level.splits) == (16, 8)
    scores = []
    for seed in range(2):
        own = [read_answers(path) for given, path in runs if (given.entry, given.seed) == ("ot", seed)]
        scores.append(ccc(np.ravel([fold.prediction for fold in own]), np.ravel([fold.target for fold in own])))
    assert line.level.mean == pytest.approx(np.mean(scores))


def test_the_spread_of_the_contributions_is_that_of_the_jackknife() -> None:
    generator = np.random.default_rng(1)
    target = generator.normal(size=9)
    answer = target + generator.normal(size=9)
    left_out = np.array([ccc(np.delete(answer, i), np.delete(target, i)) for i in range(9)])
    error = math.sqrt(8 / 9 * ((left_out - left_out.mean()) ** 2).sum())
    found = resampled_mean(contributions(values_of(target, answer), "ccc"), 0.0)
    assert found.mean == pytest.approx(ccc(answer, target))
    assert found.standard_error == pytest.approx(error)


def test_folds_of_one_sample_contribute_right_or_wrong_to_an_accuracy() -> None:
    folds = values_of(np.array([0.0, 1, 2, 1]), np.array([0.0, 2, 2, 0]), 3)
    assert contributions(folds, "accuracy") == pytest.approx([1, 0, 1, 0])


def test_classes_are_in_the_order_of_the_scale_and_unlabelled_samples_left_out(tmp_path: Path) -> None:
    target, answer = [0.0, 2.0, math.nan, 1.0, 0.0], [1.0, 2.0, 0.0, 1.0, 0.0]
    found = read_answers(predictions_csv(tmp_path / "p.csv", target, answer, classes=LEVELS))
    assert found.classes == 3
    assert found.target.tolist() == [[0.0], [2.0], [1.0], [0.0]]
    assert found.prediction.tolist() == [[1.0], [2.0], [1.0], [0.0]]
    folds = [Answers(found.target[[i]], found.prediction[[i]], 3) for i in range(4)]
    expected = cohen_kappa_score([0, 2, 1, 0], [1, 2, 1, 0], weights="quadratic")
    assert contributions(folds, "qwk").mean() == pytest.approx(expected)


def test_several_targets_are_averaged_and_may_have_odd_names(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(
        "id,subject,p_a,predicted_p_a,predicted_p_a,predicted_predicted_p_a\n"
        "s0,p0,1,2,1.5,9\ns1,p1,2,4,2.5,8\ns2,p2,4,3,4,1\n"
    )
    found = read_answers(path)
    assert found.classes == 0
    assert found.target.tolist() == [[1, 2], [2, 4], [4, 3]]
    folds = [Answers(found.target[[i]], found.prediction[[i]], 0) for i in range(3)]
    first, second = (ccc(found.prediction[:, i], found.target[:, i]) for i in range(2))
    assert contributions(folds, "ccc").mean() == pytest.approx((first + second) / 2)


def test_the_p_value_is_close_to_that_of_all_sign_flips() -> None:
    # Exchanging the two predictions of a sample, in every combination, is exact where neither is better; the
    # jackknife's t-test must come near it.
    generator = np.random.default_rng(4)
    target = generator.normal(size=12)
    near, far = target + 0.5 * generator.normal(size=12), target + 1.1 * generator.normal(size=12)
    observed = ccc(near, target) - ccc(far, target)
    flips = np.array(list(itertools.product((False, True), repeat=12)))
    first, second = np.where(flips, near, far), np.where(flips, far, near)
    differences = np.array([ccc(a, target) - ccc(b, target) for a, b in zip(first, second, strict=True)])
    exact = float(np.mean(np.abs(differences) >= abs(observed) - 1e-12))
    values = contributions(values_of(target, near), "ccc") - contributions(values_of(target, far), "ccc")
    found = resampled_mean(values, 0.0)
    assert 0.005 < exact < 0.2
    assert found.p == pytest.approx(exact, abs=0.5 * exact)


def test_it_holds_its_level_on_pools_of_single_samples() -> None:
    generator = np.random.default_rng(2)
    p_values = []
    for _ in range(300):
        target = generator.normal(size=20)
        one, two = (values_of(target, 0.5 * target + generator.normal(size=20)) for _ in range(2))
        p_values.append(resampled_mean(contributions(one, "ccc") - contributions(two, "ccc"), 0.0).p)
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.035)


def test_a_real_difference_is_found() -> None:
    generator = np.random.default_rng(3)
    target = generator.normal(size=40)
    good, bad = (values_of(target, target + noise * generator.normal(size=40)) for noise in (0.3, 2.0))
    assert resampled_mean(contributions(good, "ccc") - contributions(bad, "ccc"), 1 / 39).p < 0.01


RAMP = [float(value) for value in range(12)]


@pytest.mark.parametrize(
    ("metric", "folds", "pooled"),
    [
        ("ccc", [RAMP, RAMP[:10], RAMP], False),
        ("ccc", [RAMP, RAMP[:9], RAMP], True),
        ("ccc", [RAMP, [3.0] * 12, RAMP], True),
        ("accuracy", [[1.0, 1.0], [0.0, 0.0]], False),
        ("accuracy", [[1.0], [0.0, 0.0]], True),
    ],
)
def test_folds_are_pooled_where_one_of_them_is_too_small(
    metric: str, folds: list[list[float]], pooled: bool, tmp_path: Path
) -> None:
    runs = runs_of(tmp_path, dict(enumerate(folds)), metric=metric)
    found = pooled_where_too_small(runs)
    assert {own.pooled for own in found} == {pooled}
    assert ({own.value for own in found} == {-9.0}) == (not pooled)


def test_another_data_set_is_left_alone(tmp_path: Path) -> None:
    # The digest of a split names samples, and two data sets may give their samples the same names.
    small = runs_of(tmp_path / "a", {0: [1.0], 1: [2.0], 2: [4.0]})
    large = [(replace(own, data="b"), path) for own, path in runs_of(tmp_path / "b", {0: RAMP, 1: RAMP, 2: RAMP})]
    flat = [(replace(own, data="c"), path) for own, path in runs_of(tmp_path / "c", {0: RAMP, 1: [3.0] * 12})]
    found = pooled_where_too_small([*large, *small, *flat])
    assert {(own.data, own.pooled) for own in found} == {("toy", True), ("b", False), ("c", True)}
    assert [own.data for own in found[:9]] == ["b"] * 9


def test_a_seed_that_lacks_a_fold_is_missing(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {fold: [float(fold)] for fold in range(4)}, seeds=2)
    kept = [pair for pair in runs if (pair[0].entry, pair[0].fold, pair[0].seed) != ("ot", 2, 1)]
    found = pooled_where_too_small(kept)
    assert {(own.entry, own.seed) for own in found if math.isnan(own.value)} == {("ot", 1)}
    (block,) = analyse(found).blocks
    assert block.missing == {"ot": 4}


def test_scores_without_predictions_are_kept_where_nothing_is_pooled(tmp_path: Path) -> None:
    recorded = [(own, tmp_path / "gone.csv") for own, _ in runs_of(tmp_path, {0: RAMP, 1: RAMP})]
    assert pooled_where_too_small(recorded) == [own for own, _ in recorded]
    pooled = [(replace(own, value=0.25, test_samples=1, pooled=True), path) for own, path in recorded]
    assert pooled_where_too_small(pooled) == [own for own, _ in pooled]
    write_scores([own for own, _ in pooled], tmp_path / "scores.csv")
    assert read_scores(tmp_path / "scores.csv") == [own for own, _ in pooled]


def test_folds_that_are_only_recorded_cannot_be_pooled(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {0: [1.0], 1: [2.0], 2: [4.0]})
    runs[0] = replace(runs[0][0], pooled=True), tmp_path / "recorded.csv"
    with pytest.raises(ValueError, match=r"recorded\.csv: cannot be read"):
        pooled_where_too_small(runs)


@pytest.mark.parametrize(("size", "pooled"), [(9, True), (10, False)])
def test_a_kappa_needs_ten_samples(size: int, pooled: bool, tmp_path: Path) -> None:
    target = [float(i % 3) for i in range(size)]
    path = predictions_csv(tmp_path / "p.csv", target, target[::-1], classes=LEVELS)
    given = [replace(score("ot", -9.0, fold=fold, metric="qwk", split=f"{fold}"), test_samples=size) for fold in (0, 1)]
    found = pooled_where_too_small([(own, path) for own in given])
    assert [own.pooled for own in found] == [pooled] * 2


def test_pooling_needs_the_predictions_of_every_run(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {0: [1.0], 1: [2.0], 2: [4.0]})
    lost = runs[4][1]
    lost.unlink()
    with pytest.raises(ValueError, match=r"ot-1-0/predictions\.csv: cannot be read \(No such file"):
        pooled_where_too_small(runs)
    for damaged in (
        "",
        "id,subject,pain\n",
        "id,subject,pain,predicted_pain\ns0,p0,1\n",
        "id,subject,pain,predicted_pain\ns0,p0,1,x\n",
    ):
        lost.write_text(damaged)
        with pytest.raises(ValueError, match=r"ot-1-0/predictions\.csv: not the predictions of a run"):
            pooled_where_too_small(runs)


def test_a_pool_with_one_target_cannot_be_scored(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {0: [1.0], 1: [1.0], 2: [1.0]})
    told = r"toy, few: ccc cannot be computed on the test samples of all 3 folds together \(its 3 labelled samples have"
    with pytest.raises(ValueError, match=told):
        pooled_where_too_small(runs)


def hold_outs(folder: Path, targets: list[list[float]]) -> list[tuple[Score, Path]]:
    """A seed for each split."""
    runs = runs_of(folder, dict(enumerate(targets)))
    return [(replace(own, fold=0, seed=own.fold, value=0.5), path) for own, path in runs]


def test_without_folds_a_split_that_cannot_be_scored_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = pooled_where_too_small(hold_outs(tmp_path, [[1.0, 2.0], [3.0, 3.0], [4.0, 1.0]]))
    assert [math.isnan(own.value) for own in found] == [False] * 3 + [True] * 3 + [False] * 3
    assert not any(own.pooled for own in found)
    assert "ccc cannot be computed on 1 of 3 test splits (seed 1: its 2 labelled samples have the same" in caplog.text
    (block,) = analyse(found).blocks
    assert (block.unscored, block.runs) == (1, 3)


def test_without_folds_and_without_any_scorable_split_it_is_refused(tmp_path: Path) -> None:
    told = r"ccc cannot be computed on 2 of 2 test splits \(seed 0: it has one labelled sample\); expected a larger"
    with pytest.raises(ValueError, match=told):
        pooled_where_too_small(hold_outs(tmp_path, [[1.0], [3.0]]))


def one_sample_a_subject(folder: Path, task: str) -> Path:
    data = write_vectors(folder, subjects=1, per_subject=4, task=task)
    lines = (data / "samples.csv").read_text().splitlines()
    lines[1:] = [line.replace(",p00,", f",p{number:02d},") for number, line in enumerate(lines[1:])]
    (data / "samples.csv").write_text("\n".join(lines) + "\n")
    return data


@pytest.mark.parametrize(("task", "metric"), [("classification", "accuracy"), ("regression", "ccc")])
def test_a_comparison_with_one_sample_per_subject_is_pooled_and_says_so(task: str, metric: str, tmp_path: Path) -> None:
    config = CompareConfig(
        data=(str(one_sample_a_subject(tmp_path / "toy", task)),),
        methods=("ot",),
        folds="loso",
        epochs=2,
        batch_size=4,
        seeds=1,
        tune_seeds=0,
        out=tmp_path / "out",
        jobs=2,
    )
    text = compare(config, "pkdot-compare --folds loso").read_text(encoding="utf-8")
    assert "The predictions of 4 folds were pooled and scored once" in text
    assert "Pooled folds: some folds are too small" in text
    rows = [
        row
        for path in sorted(config.out.rglob("test/fold*/ot/**/predictions.csv"))
        for row in csv.DictReader(path.open(encoding="utf-8"))
    ]
    assert sorted(row["subject"] for row in rows) == [f"p{number:02d}" for number in range(4)]
    target, answer = [row["answer"] for row in rows], [row["predicted_answer"] for row in rows]
    if task == "classification":
        expected = accuracy_score(target, answer)
    else:
        expected = ccc(np.array(answer, dtype=float), np.array(target, dtype=float))
    values = [own.value for own in read_scores(config.out / "scores.csv") if own.entry == "ot"]
    assert len(values) == 4
    assert np.mean(values) == pytest.approx(expected)
    assert f"| ot | 4 | {100 * expected:.2f} ± " in text
    assert f"{metric} of pooled folds, points" in text


@pytest.mark.parametrize("folds", ["0", "loso"])
def test_a_data_set_on_which_nothing_can_be_scored_is_refused_before_anything_is_trained(
    folds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_vectors(tmp_path / "flat", subjects=4, per_subject=2, task="regression")
    lines = (data / "samples.csv").read_text().splitlines()
    rows = [line.rpartition(",")[0] + (",0.5" if number else ",") for number, line in enumerate(lines[1:])]
    (data / "samples.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    out = tmp_path / "out"
    assert main(["--data", str(data), "--methods", "ot", "--folds", folds, "--out", str(out)]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.endswith("flat: nothing on it can be scored by ccc, since its 7 labelled samples have the same target.")
    assert not out.exists()


def test_the_reference_of_this_file_is_lins() -> None:
    # Lin (1989): for a prediction that is the target plus a constant, 2 s^2 / (2 s^2 + d^2).
    target = np.array([1.0, 2.0, 3.0, 6.0])
    assert ccc(target + 2, target) == pytest.approx(2 * 3.5 / (2 * 3.5 + 4))
    assert stats.pearsonr(target + 2, target)[0] == pytest.approx(1)
