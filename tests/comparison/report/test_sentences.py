"""Every figure and word of a report, against the scores that it is made of."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pkdot.comparison.report.analysis import analyse
from pkdot.comparison.report.formats import difference, gap, p_value, points
from pkdot.comparison.report.inference import gap_closed, resampled_mean
from tests.comparison.toys import EFFECTS, comparison, row, tables, told


def test_each_regime_is_counted_apart() -> None:
    few = comparison({"ot": 0.05, "kd": -0.05, "hint": 0.0, "sp": 0.06}, regimes=("few",))
    noisy = comparison({"ot": -0.05, "kd": 0.0, "hint": 0.0}, regimes=("noisy",))
    one = [replace(own, regime="single") for own in comparison({"ot": 0.05}, seeds=1)]
    text = told([*few, *noisy, *one])
    in_all = (
        "of 8 comparisons 2 help, 2 harm and 3 show no difference (3 of these non-inferior); 1 have too few splits."
    )
    assert f"Each method against the undistilled student: {in_all}" in text
    assert "- few: of 4 comparisons 2 help, 1 harm and 1 show no difference (1 of these non-inferior)." in text
    assert "- noisy: of 3 comparisons 0 help, 1 harm and 2 show no difference (2 of these non-inferior)." in text
    assert "- single: of 1 comparisons 0 help, 0 harm and 0 show no difference; 1 have too few splits." in text
    assert "- few:" not in told(few)
    two = told([*few, *noisy])
    assert "- few:" in two
    assert "- noisy:" in two


def test_a_loss_within_the_margin_is_counted_apart_where_it_harms() -> None:
    text = told(comparison({"ot": -0.005, "kd": 0.0}, noise=0.0001))
    assert row(text, "ot")[-1] == "harms, non-inferior"
    assert "of 2 comparisons 0 help, 1 harm and 1 show no difference (1 of these non-inferior)." in text
    assert "- ot: harms, by less than 1 point, on toy (few)." in text


def test_a_block_says_which_effects_are_too_small_to_see_and_what_the_controls_gain() -> None:
    scores = comparison(EFFECTS, noise=0.01)
    runs = {name: np.array([s.value for s in scores if s.entry == name]) for name in {s.entry for s in scores}}

    def half(name: str) -> float:
        difference = runs[name] - runs["none"]
        return float(100 * stats.t.ppf(0.975, 7) * difference.std(ddof=1) * math.sqrt(1 / 8 + 1 / 3))

    def gain(name: str) -> str:
        mean = 100 * (runs[name] - runs["none"]).mean()
        return f"{mean:+.2f} [{mean - half(name):+.2f}, {mean + half(name):+.2f}]"

    text = told(scores)
    assert f"reach ± {np.median([half(name) for name in EFFECTS]):.1f} points (median over methods)" in text
    assert f"The teacher leads the undistilled student by {gain('teacher')} points." in text
    without = ", ".join(f"{name} {gain(name)}" for name in ("self-training", "kd from prevalent teacher"))
    assert f"Without any privileged modality: {without} points." in text
    assert f"All labels give the undistilled student {gain('all labels')} points." in text


def test_two_splits_are_tested() -> None:
    text = told(comparison(EFFECTS, seeds=2))
    assert "Runs of each entry: 2, on 2 splits; no run is missing." in text
    assert "too few" not in text


def test_two_seeds_on_one_split_are_advised_to_use_folds() -> None:
    text = told([replace(own, split="its own") for own in comparison(EFFECTS, seeds=2)])
    assert "too few for an interval or a test: all seeds use the same samples, and folds would not" in text
    assert "all seeds use the same samples" not in told(comparison(EFFECTS, seeds=1))


def test_the_number_of_splits_is_that_of_the_entry_with_the_most() -> None:
    scores = [own for own in comparison(EFFECTS) if own.entry != "kd" or own.seed < 3]
    assert "Runs of each entry: 8, on 8 splits; missing: kd 5." in told(scores)


def test_only_runs_without_a_score_for_any_entry_are_reported() -> None:
    scores = comparison(EFFECTS)
    lost = [replace(own, value=math.nan) if own.seed == 2 else own for own in scores]
    assert "1 run has no score for any entry; the test split may be too small." in told(lost)
    partly = [replace(own, value=math.nan) if own.seed == 2 and own.entry != "ot" else own for own in scores]
    assert "no score for any entry" not in told(partly)
    assert "Pooled folds" not in told(scores)
    assert "were pooled" not in told(scores)
    pooled = told([replace(own, pooled=True) for own in comparison(EFFECTS, folds=3, seeds=2)])
    assert "The predictions of 3 folds were pooled and scored once for each entry and seed." in pooled
    assert "Pooled folds: some folds are too small" in pooled


def test_the_summary_has_stars_for_the_corrected_p() -> None:
    # Effects and a noise for which the three stars, and p before and after the correction, all differ.
    scores = comparison({f"m{number}": 0.0045 * number for number in range(9)}, noise=0.01, seeds=12)
    (block,) = analyse(scores).blocks
    (summary,) = [rows for rows in tables(told(scores)) if rows[0][0] == "method"]
    shown = {cells[0]: cells[1].split()[1:] for cells in summary[2:]}
    expected = {}
    for line in block.methods:
        stars = [text for bound, text in ((0.001, "***"), (0.01, "**"), (0.05, "*")) if line.p < bound]
        expected[line.entry] = stars[:1]
    assert shown == expected
    assert {text for stars in expected.values() for text in stars} == {"*", "**", "***"}
    assert any(line.to_none.p < 0.001 <= line.p for line in block.methods)


def test_verdicts_use_the_corrected_p() -> None:
    (block,) = analyse(comparison({f"m{number}": 0.003 * number for number in range(9)}, noise=0.01, seeds=12)).blocks
    assert {line.entry for line in block.methods if line.verdict == "helps"} == {
        line.entry for line in block.methods if line.p < 0.05
    }
    assert sum(line.to_none.p < 0.05 <= line.p for line in block.methods) > 1


def test_seeds_on_folds_are_averaged_before_the_test() -> None:
    scores = comparison({"kd": 0.03, "ot": 0.01}, folds=4, seeds=3, noise=0.02)
    (block,) = analyse(scores).blocks
    line = block.line("kd")
    assert line is not None

    def folds(entry: str) -> np.ndarray:
        return np.array([[s.value for s in scores if (s.entry, s.fold) == (entry, f)] for f in range(4)]).mean(axis=1)

    gain, lead = folds("kd") - folds("none"), folds("teacher") - folds("none")
    assert vars(line.level) == pytest.approx({**vars(resampled_mean(folds("kd"), 1 / 3)), "runs": 12})
    assert vars(line.to_none) == pytest.approx({**vars(resampled_mean(gain, 1 / 3)), "runs": 12})
    to_ot = resampled_mean(folds("kd") - folds("ot"), 1 / 3)
    assert vars(line.to_ot) == pytest.approx({**vars(to_ot), "runs": 12})
    closed = gap_closed(gain, lead, 1 / 3)
    assert closed is not None
    assert closed.interval is not None
    assert line.gap is not None
    assert line.gap.interval is not None
    assert line.gap.share == pytest.approx(closed.share)
    assert (line.gap.interval.low, line.gap.interval.high) == pytest.approx((closed.interval.low, closed.interval.high))


def test_figures_are_rounded_and_signed() -> None:
    assert points(0.01234) == "+1.23"
    assert points(-0.00001) == "+0.00"
    assert points(math.nan) == "–"
    assert [p_value(p) for p in (0.0009, 0.001, 0.0104, 1.0, math.nan)] == ["<0.001", "0.001", "0.010", "1.000", "–"]


def test_a_line_has_its_corrected_p_values_and_differences() -> None:
    scores = comparison(EFFECTS, noise=0.02)
    (block,) = analyse(scores).blocks
    text = told(scores)
    for line in block.methods:
        cells = row(text, line.entry)
        ot = ["–", "–"] if line.entry == "ot" else [difference(line.to_ot), p_value(line.p_ot)]
        assert cells[5:10] == [p_value(line.p), *ot, difference(line.to_control), p_value(line.p_control)]
        assert gap(line.gap) == cells[3]
        assert line.gap is not None
        assert line.gap.share == pytest.approx(line.to_none.mean / block.line("teacher").to_none.mean)  # type: ignore[union-attr]
    means = {name: np.mean([s.value for s in scores if s.entry == name]) for name in {s.entry for s in scores}}
    hint = block.line("hint")
    assert hint is not None
    assert hint.to_ot.mean == pytest.approx(means["hint"] - means["ot"])
    assert hint.to_control.mean == pytest.approx(means["hint"] - means["kd from prevalent teacher"])
    for control in ("teacher", "none", "self-training"):
        cells = row(text, control)
        assert cells[6:] == ["–", "–", "–", "–", ""]
        assert (cells[3] == "–") == (control in ("teacher", "none"))
        assert (cells[4] == "–") == (control == "none")


def test_ranks_are_reported_with_groups_and_unranked_methods() -> None:
    scores = comparison({"a": 0.03, "b": 0.02, "c": 0.01}, data=tuple("12345"), noise=0.0001)
    text = told([*scores, *comparison({"odd": 0.01}, data=("6",))])
    assert "Mean ranks of 4 entries (methods and none; 1 = best) over the 5 data sets x regimes" in text
    assert "took part: 1 (few), 2 (few), 3 (few), 4 (few), 5 (few)." in text
    expected = stats.friedmanchisquare(*[[rank] * 5 for rank in (1, 2, 3, 4)]).pvalue
    assert f"Friedman's test that all are equal: p = {expected:.3f}." in text
    # Demsar's q for four entries is 2.569.
    bound = f"Nemenyi's critical difference at 5 % is {2.569 * math.sqrt(4 * 5 / 30):.2f} ranks"
    assert f"{bound}; not shown to differ: a to c; b to none." in text
    assert "Not ranked, since they took part in too few of these: odd." in text
    equal = told(comparison({"a": 0.0, "b": 0.0, "c": 0.0}, data=("1", "2"), noise=0.001))
    assert "No entry is shown to rank above another. Nemenyi's" in equal
    assert "Not ranked" not in equal
    many = told(comparison({"a": 0.03, "b": 0.02, "c": 0.01}, data=tuple(map(str, range(30))), seeds=2, noise=0.0001))
    assert "p < 0.001. Nemenyi's critical difference at 5 % is 0.86 ranks; all pairs differ by more." in many
