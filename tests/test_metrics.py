import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from pkdot.metrics import (
    accuracy,
    concordance,
    confusion_matrix,
    macro_f1,
    mean_absolute_error,
    pearson,
    quadratic_weighted_kappa,
    r_squared,
    root_mean_squared_error,
    unscorable,
)

LEVELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60)


@given(LEVELS)
def test_class_metrics_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    prediction, target = np.array(pairs).T
    classes = list(range(5))
    assert accuracy(prediction, target) == pytest.approx(oracle.accuracy_score(target, prediction))
    f1 = oracle.f1_score(target, prediction, labels=classes, average="macro", zero_division=0)
    assert macro_f1(prediction, target, 5) == pytest.approx(f1)
    assert np.array_equal(
        confusion_matrix(prediction, target, 5), oracle.confusion_matrix(target, prediction, labels=classes)
    )
    if len(set(prediction)) > 1 and len(set(target)) > 1:
        kappa = oracle.cohen_kappa_score(target, prediction, labels=classes, weights="quadratic")
        assert quadratic_weighted_kappa(prediction, target, 5) == pytest.approx(kappa)


def test_macro_f1_counts_classes_that_never_occur_as_zero() -> None:
    assert macro_f1([0, 1], [0, 1], 4) == pytest.approx(0.5)


@pytest.mark.parametrize("target", [[0, 1, 2], [2, 2, 2]])
def test_kappa_of_a_constant_is_zero(target: list[int]) -> None:
    assert quadratic_weighted_kappa([2, 2, 2], target, 3) == 0.0


@pytest.mark.parametrize("wrong", [[0, 3], [-1, 0]])
def test_a_class_out_of_range_is_named(wrong: list[int]) -> None:
    with pytest.raises(ValueError, match=r"expected 0\.\.2"):
        macro_f1(wrong, [0, 1], 3)


def test_regression_metrics_agree_with_scikit_learn_and_numpy() -> None:
    generator = np.random.default_rng(0)
    target = generator.normal(size=(50, 2))
    prediction = 0.5 * target + generator.normal(size=(50, 2)) + 1.0
    assert mean_absolute_error(prediction, target) == pytest.approx(oracle.mean_absolute_error(target, prediction))
    assert root_mean_squared_error(prediction, target) ** 2 == pytest.approx(
        oracle.mean_squared_error(target, prediction)
    )
    assert r_squared(prediction, target) == pytest.approx(oracle.r2_score(target, prediction, multioutput="raw_values"))
    rho = [np.corrcoef(prediction[:, r], target[:, r])[0, 1] for r in range(2)]
    assert pearson(prediction, target) == pytest.approx(rho)


def test_concordance_takes_population_moments() -> None:
    prediction, target = np.array([[1.0], [2.0], [4.0]]), np.array([[1.5], [2.0], [5.0]])
    p, t = prediction[:, 0], target[:, 0]
    covariance = np.cov(p, t, ddof=0)[0, 1]
    expected = 2 * covariance / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)
    assert concordance(prediction, target) == pytest.approx([expected])


def test_concordance_is_one_only_without_shift_or_scale() -> None:
    values = np.linspace(-1, 1, 9)[:, None]
    assert concordance(values, values) == pytest.approx([1.0])
    assert concordance(-values, values) == pytest.approx([-1.0])
    assert 0 < concordance(values + 1, values)[0] < 1
    assert pearson(3 * values + 1, values) == pytest.approx([1.0])


@pytest.mark.parametrize("metric", [concordance, pearson])
def test_two_constants_agree_in_nothing_even_where_their_variance_is_rounding(metric) -> None:  # type: ignore[no-untyped-def]
    first, second = np.full((7, 1), 0.1), np.full((7, 1), 0.7)
    assert first.std() * second.std() > 0
    assert metric(first, second) == 0.0
    assert metric(first, first) == 0.0


@pytest.mark.parametrize("metric", [concordance, pearson, r_squared])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e8])
def test_agreement_with_a_constant_is_zero(metric, constant: float) -> None:  # type: ignore[no-untyped-def]
    flat, values = np.full((7, 1), constant), np.linspace(-1, 1, 7)[:, None]
    assert metric(values, flat) == pytest.approx([0.0])
    if metric is not r_squared:
        assert metric(flat, values) == pytest.approx([0.0])


def test_float32_input_is_summed_in_float64() -> None:
    values = (np.arange(1000, dtype=np.float32) + 1e6)[:, None]
    assert concordance(values, values) == pytest.approx([1.0], abs=1e-12)


def test_empty_and_unequal_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        accuracy([], [])
    with pytest.raises(ValueError, match="shape"):
        accuracy([1, 2], [1])


@pytest.mark.parametrize(
    ("metric", "target", "reason"),
    [
        ("ccc", [[0.5]], "it has one labelled sample"),
        ("qwk", [3], "it has one labelled sample"),
        ("qwk", [2, 2, 2], "its 3 labelled samples have the same target"),
        ("ccc", [[0.1, 1.0], [0.2, 1.0]], "its 2 labelled samples have the same target"),
        ("ccc", [[0.1, 1.0], [0.2, 1.1]], ""),
        ("qwk", [2, 2, 1], ""),
        ("accuracy", [1], ""),
        ("accuracy", [1, 1], ""),
    ],
)
def test_a_metric_of_agreement_needs_targets_that_differ(metric: str, target: list[object], reason: str) -> None:
    assert unscorable(metric, np.array(target)) == reason
