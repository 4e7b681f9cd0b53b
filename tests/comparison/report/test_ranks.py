import math

import numpy as np
import pytest
from scipy import stats

from pkdot.comparison.report.ranks import friedman, nemenyi, rank
from pkdot.comparison.report.scores import Score, blocks
from tests.comparison.toys import score

# Demsar (2006), table 6: AUC of C4.5 (here the undistilled student) and of three variants on 14 data sets. His ranks
# tell apart what he printed as 0.975 twice.
DEMSAR = """
0.763 0.768 0.771 0.798
0.599 0.591 0.590 0.569
0.954 0.971 0.968 0.967
0.628 0.661 0.654 0.657
0.882 0.888 0.886 0.898
0.936 0.931 0.916 0.931
0.661 0.668 0.609 0.685
0.583 0.583 0.563 0.625
0.775 0.838 0.866 0.875
1.000 1.000 1.000 1.000
0.940 0.962 0.965 0.962
0.619 0.666 0.614 0.669
0.972 0.981 0.97501 0.975
0.957 0.978 0.946 0.970
"""
TABLE = np.array([[float(value) for value in line.split()] for line in DEMSAR.strip().splitlines()])
ENTRIES = ("none", "m", "cf", "m+cf")


def scores_of(table: np.ndarray, entries: tuple[str, ...] = ENTRIES) -> list[Score]:
    return [
        score(entry, value, data=f"set {place}")
        for place, row in enumerate(table)
        for entry, value in zip(entries, row, strict=True)
    ]


def test_demsars_example_has_his_ranks_and_his_critical_difference() -> None:
    found = rank(blocks(scores_of(TABLE)))
    assert found is not None
    assert found.entries == ("m+cf", "m", "cf", "none")
    assert found.mean_ranks == pytest.approx((1.964, 2.000, 2.893, 3.143), abs=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert found.p < 0.05
    assert found.groups == [(0, 3)]
    assert len(found.blocks) == 14


@pytest.mark.parametrize(("entries", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_differences_use_demsars_table(entries: int, q: float) -> None:
    assert nemenyi(entries, 7) == pytest.approx(q * math.sqrt(entries * (entries + 1) / 42), abs=1e-3)


def test_friedman_agrees_with_scipy_and_handles_ties() -> None:
    assert friedman(TABLE.T) == pytest.approx(stats.friedmanchisquare(*TABLE.T).pvalue)
    assert friedman(np.full((4, 3), 0.5)) == 1.0
    assert friedman(np.tile([0.5, 0.6, 0.7], (4, 1))) == 1.0


def test_clear_orders_fall_into_groups() -> None:
    entries = ("a", "b", "c", "d", "e", "none")
    found = rank(blocks(scores_of(np.tile(np.linspace(0.9, 0.4, 6), (20, 1)), entries)))
    assert found is not None
    assert found.mean_ranks == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert found.critical_difference == pytest.approx(1.686, abs=1e-3)
    assert found.groups == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


def test_entries_that_all_differ_are_in_no_group() -> None:
    found = rank(blocks(scores_of(np.tile(np.linspace(0.9, 0.4, 4), (60, 1)))))
    assert found is not None
    assert found.critical_difference < 1
    assert found.groups == []


@pytest.mark.parametrize(
    ("sets", "entries"), [(1, ENTRIES), (5, ENTRIES[:3]), (5, ("teacher", "all labels", "m", "cf"))]
)
def test_too_little_to_rank_is_left_out(sets: int, entries: tuple[str, ...]) -> None:
    assert rank(blocks(scores_of(TABLE[:sets, : len(entries)], entries))) is None


def test_three_methods_on_two_data_sets_are_ranked() -> None:
    found = rank(blocks(scores_of(TABLE[:2])))
    assert found is not None
    assert len(found.blocks) == 2


def test_a_method_of_few_data_sets_does_not_leave_out_the_others() -> None:
    scores = scores_of(TABLE)
    scores += [score("ccc", 0.9, data="set 0"), score("ccc", 0.9, data="alone"), score("none", 0.9, data="alone")]
    found = rank(blocks(scores))
    assert found is not None
    assert set(found.entries) == set(ENTRIES)
    assert found.left_out == ("ccc",)
    assert len(found.blocks) == 14
    assert found.critical_difference == pytest.approx(nemenyi(4, 14))


def test_a_data_set_that_a_method_lacks_is_left_out() -> None:
    scores = [each for each in scores_of(TABLE) if (each.entry, each.data) != ("cf", "set 3")]
    found = rank(blocks(scores))
    assert found is not None
    assert ("set 3", "few") not in found.blocks
    assert len(found.blocks) == 13


def test_entries_are_ranked_by_the_runs_that_all_of_them_have() -> None:
    scores = scores_of(TABLE)
    # A second seed, in which only two entries took part, would turn the order on every data set.
    scores += [
        score(entry, value, data=f"set {i}", seed=1) for i in range(14) for entry, value in (("m", 0.0), ("cf", 9.0))
    ]
    found, alone = rank(blocks(scores)), rank(blocks(scores_of(TABLE)))
    assert found == alone
