import pytest

from pkdot.checks import check_choice, check_count, check_not_negative, check_positive, check_range, check_type


def test_a_wrong_choice_is_told_the_choices_and_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"method 'knd' is not one of none, kd\. Did you mean 'kd'\?"):
        check_choice("method", "knd", ["none", "kd"])
    with pytest.raises(ValueError, match=r"one of none, kd\.$"):
        check_choice("method", "zzz", ["none", "kd"])


def test_a_range_may_exclude_its_lower_end() -> None:
    check_range("x", 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"x 0\.0 is outside \(0\.0, 1\.0\]"):
        check_range("x", 0.0, 0.0, 1.0, open_low=True)


def test_a_type_is_told_by_the_name_of_what_was_expected() -> None:
    check_type("config", 3, int)
    with pytest.raises(ValueError, match="config is 'x'; expected a whole number"):
        check_type("config", "x", int)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_number_that_is_not_above_0_is_named(value: float) -> None:
    check_positive(blur=0.1, tol=1)
    with pytest.raises(ValueError, match=f"^tol is {value}; expected a finite number above 0"):
        check_positive(blur=0.1, tol=value)


def test_0_is_not_negative() -> None:
    check_not_negative(alpha=0.0, beta=3)
    for value in (-1e-9, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"^beta is {value}; expected a finite number of at least 0"):
            check_not_negative(alpha=0.0, beta=value)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3"])
def test_a_count_is_a_whole_number_of_at_least_1(value: object) -> None:
    check_count(samples=1, negatives=10**9)
    with pytest.raises(ValueError, match=rf"^samples is {value!r}; expected a whole number of at least 1"):
        check_count(samples=value)  # type: ignore[arg-type]
