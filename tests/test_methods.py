import pytest

from pkdot.config import DistillConfig
from pkdot.methods import parse_method


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("ott", "Did you mean 'ot'"),
        ("ot+", "method '' is not one of"),
        ("x*ot", "expected a number before the star"),
        ("ot+ot", "names 'ot' twice"),
        ("none+ot", "none stands alone"),
        ("-1*ot", "share of method ot"),
    ],
)
def test_a_method_that_cannot_be_read_is_named(method: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistillConfig(method=method)
    with pytest.raises(ValueError, match=message):
        parse_method(method)


def test_a_method_is_a_sum_of_losses_with_their_shares() -> None:
    assert parse_method("ot") == {"ot": 1.0}
    assert parse_method("ot + 0.5*kd") == {"ot": 1.0, "kd": 0.5}
