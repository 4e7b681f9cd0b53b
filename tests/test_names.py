import pytest

from pkdot.names import listed, names_in


def test_names_of_an_unknown_place_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no module 'pkdot\.attic'"):
        names_in("pkdot.attic", "NAMES")
    with pytest.raises(ValueError, match="no dict literal"):
        names_in("pkdot.cli.console", "NAMES")


def test_a_list_of_choices_has_the_entries_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    from pkdot.losses import LOSSES

    assert listed("pkdot.losses", "LOSSES").startswith("{none,ot,")
    monkeypatch.setitem(LOSSES, "mine", object)  # type: ignore[arg-type]
    assert listed("pkdot.losses", "LOSSES").endswith(",mine}")
