import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pkdot.comparison.report.inference import Estimate, Gap, gap_closed, holm, resampled_mean, verdict

DIFFERENCES = [0.012, -0.004, 0.031, 0.008, 0.015, 0.001]


def rejections(runs: np.ndarray, ratio: float, splits: np.ndarray | None = None) -> float:
    """Share of rows whose mean a test at 5 % calls different from 0."""
    return float(np.mean([resampled_mean(row, ratio, splits).p < 0.05 for row in runs]))


def test_without_overlap_it_is_the_paired_t_test() -> None:
    found = resampled_mean(DIFFERENCES, 0.0)
    plain = stats.ttest_1samp(DIFFERENCES, 0.0)
    interval = plain.confidence_interval(0.95)
    assert found.p == pytest.approx(plain.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.standard_error == pytest.approx(stats.sem(DIFFERENCES))
    assert found.floor == pytest.approx(
        stats.ttest_1samp(DIFFERENCES, 0.0, alternative="greater").confidence_interval().low
    )


def test_overlap_widens_the_standard_error_as_nadeau_and_bengio_say() -> None:
    found = resampled_mean([1.0, 2.0, 3.0], 0.25)
    assert found.mean == 2.0
    assert found.standard_error == pytest.approx(math.sqrt(1 / 3 + 1 / 4))
    assert found.p == pytest.approx(2 * stats.t.sf(2 / math.sqrt(7 / 12), 2))
    assert (found.runs, found.splits) == (3, 3)


def test_seeds_on_one_fold_are_averaged_first() -> None:
    found = resampled_mean([1.0, 3.0, 5.0, 7.0, 9.0], 0.5, [7, 7, 2, 2, 9])
    assert found == replace(resampled_mean([6.0, 2.0, 9.0], 0.5), runs=5)


def test_it_keeps_its_level_where_the_plain_test_does_not() -> None:
    # 60 samples favour neither method but by chance; each of 10 seeds tests on 20 of them.
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(500, 60))
    runs = np.stack([rng.permuted(samples, axis=1)[:, :20].mean(axis=1) for _ in range(10)], axis=1)
    assert rejections(runs, 0.0) > 0.2
    assert rejections(runs, 20 / 40) == pytest.approx(0.05, abs=0.03)


def test_seeds_on_fixed_folds_do_not_count_as_splits() -> None:
    rng = np.random.default_rng(1)
    folds = np.repeat(np.arange(5), 10)
    runs = rng.normal(size=(500, 5))[:, folds] + 0.1 * rng.normal(size=(500, 50))
    assert rejections(runs, 1 / 4) > 0.07
    assert rejections(runs, 1 / 4, folds) < 0.05


@pytest.mark.parametrize(("values", "mean"), [([], math.nan), ([0.25], 0.25)])
def test_fewer_than_two_splits_have_no_interval_and_no_p(values: list[float], mean: float) -> None:
    found = resampled_mean(values, 0.5)
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert all(map(math.isnan, (found.standard_error, found.low, found.high, found.p, found.floor)))
    assert found.non_inferior is None
    same = resampled_mean([0.1, 0.2], 0.5, [3, 3])
    assert (same.runs, same.splits) == (2, 1)


def test_equal_differences_are_judged_by_their_signs() -> None:
    assert resampled_mean([0.0, 0.0, 0.0], 0.3).p == 1.0
    equal = resampled_mean(np.array([0.61, 0.71, 0.81]) - np.array([0.60, 0.70, 0.80]), 0.3)
    assert equal.standard_error == 0.0
    assert equal.p == 0.25


@pytest.mark.parametrize(
    ("values", "ratio", "splits", "message"),
    [
        ([1.0, math.nan], 0.1, None, "not finite"),
        ([1.0, 2.0], -0.1, None, "ratio is -0.1"),
        ([1.0, 2.0], math.nan, None, "ratio is nan"),
        ([1.0, 2.0], 0.1, [1], "expected one value and one split a run"),
        ([[1.0, 2.0]], 0.1, None, "expected one value and one split a run"),
    ],
)
def test_bad_runs_are_named(values: list[float], ratio: float, splits: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resampled_mean(values, ratio, splits)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1; none may fall below the one before it.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_rejects_what_the_step_down_procedure_rejects() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        given = rng.uniform(size=7) ** 4
        rejected = set()
        for step, place in enumerate(np.argsort(given)):
            if given[place] > 0.05 / (7 - step):
                break
            rejected.add(place)
        assert {place for place, p in enumerate(holm(list(given))) if p <= 0.05} == rejected


def test_holm_counts_the_tests_that_were_made() -> None:
    assert holm([math.nan, 0.01, 0.2]) == pytest.approx([math.nan, 0.02, 0.2], nan_ok=True)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        holm([0.5, 1.5])


def test_gap_closed_is_a_ratio_of_means() -> None:
    found = gap_closed([0.04, 0.06], [0.1, 0.3], 0.0)
    assert found is not None
    assert found.share == pytest.approx(0.25)
    assert gap_closed([0.05], [0.2], 0.0) == Gap(pytest.approx(0.25), None)


def test_two_splits_have_an_interval_of_the_gap() -> None:
    # The roots of (0.05 - 0.2 r)^2 = t^2 / 2 (s_mm - 2 r s_ml + r^2 s_ll), t the quantile of one degree of freedom.
    found = gap_closed([0.04, 0.06], [0.2, 0.201], 0.0)
    squared = math.tan(math.pi * 0.475) ** 2 / 2
    spread = np.cov([0.04, 0.06], [0.2, 0.201])
    mean = 0.2005
    roots = np.roots(
        [
            mean**2 - squared * spread[1, 1],
            -2 * (0.05 * mean - squared * spread[0, 1]),
            0.05**2 - squared * spread[0, 0],
        ]
    )
    assert found is not None
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(sorted(roots)))


def test_a_share_at_the_end_of_the_interval_has_p_of_five_per_cent() -> None:
    rng = np.random.default_rng(3)
    lead = rng.normal(0.1, 0.02, size=12)
    method = 0.4 * lead + rng.normal(0, 0.02, size=12)
    found = gap_closed(method, lead, 0.3)
    assert found is not None
    assert found.interval is not None
    assert found.interval.low < found.share < found.interval.high
    for end in (found.interval.low, found.interval.high):
        assert resampled_mean(method - end * lead, 0.3).p == pytest.approx(0.05)


def test_a_constant_lead_scales_the_interval_of_the_difference() -> None:
    found, difference = gap_closed(DIFFERENCES, [0.2] * 6, 0.4), resampled_mean(DIFFERENCES, 0.4)
    assert found is not None
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((difference.low / 0.2, difference.high / 0.2))


def test_a_lead_that_is_not_shown_leaves_the_interval_open() -> None:
    found = gap_closed([0.01, 0.02, 0.03], [0.2, -0.15, 0.01], 0.3)
    assert found is not None
    assert found.interval is None


@pytest.mark.parametrize("lead", [[-0.1, -0.2], [0.0, 0.0], [0.1, -0.1], []])
def test_there_is_no_gap_to_close_where_the_teacher_is_not_ahead(lead: list[float]) -> None:
    assert gap_closed([0.01] * len(lead), lead, 0.3) is None


def test_a_gap_needs_pairs() -> None:
    with pytest.raises(ValueError, match="2 differences of the method and 1 of the teacher"):
        gap_closed([0.1, 0.2], [0.1], 0.3)


def estimate(mean: float, floor: float) -> Estimate:
    return Estimate(mean, 0.01, mean - 0.02, mean + 0.02, 0.5, floor, 5, 5)


@pytest.mark.parametrize(
    ("mean", "floor", "p", "said"),
    [
        (0.02, 0.01, 0.01, "helps"),
        (-0.02, -0.03, 0.01, "harms"),
        (-0.004, -0.005, 0.01, "harms, non-inferior"),
        (0.02, -0.02, 0.2, "no difference shown"),
        (0.02, -0.02, 0.05, "no difference shown"),
        (0.02, -0.02, 0.049, "helps"),
        (-0.02, -0.03, 0.05, "no difference shown"),
        (-0.001, -0.0099, 0.2, "no difference shown, non-inferior"),
        (-0.001, -0.01, 0.2, "no difference shown"),
        (0.02, math.nan, math.nan, "too few splits"),
    ],
)
def test_verdicts_follow_sign_p_and_margin(mean: float, floor: float, p: float, said: str) -> None:
    assert verdict(estimate(mean, floor), p) == said
