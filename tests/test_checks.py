import pytest

from pkdot.checks import check_choice, check_range, check_type, names_in


def test_a_wrong_choice_is_told_the_choices_and_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"method 'knd' is not one of none, kd\. Did you mean 'kd'\?"):
        check_choice("method", "knd", ["none", "kd"])
    with pytest.raises(ValueError, match=r"one of none, kd\.$"):
        check_choice("method", "zzz", ["none", "kd"])


def test_a_range_may_exclude_its_lower_end() -> None:
    check_range("x", 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"x 0\.0 is outside \(0\.0, 1\.0\]"):
        check_range("x", 0.0, 0.0, 1.0, open_low=True)


def test_names_of_an_unknown_place_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no module 'pkdot\.attic'"):
        names_in("pkdot.attic", "NAMES")
    with pytest.raises(ValueError, match="no dict literal"):
        names_in("pkdot.cli.console", "NAMES")


def test_a_type_is_told_by_the_name_of_what_was_expected() -> None:
    check_type("config", 3, int)
    with pytest.raises(ValueError, match="config is 'x'; expected a whole number"):
        check_type("config", "x", int)
