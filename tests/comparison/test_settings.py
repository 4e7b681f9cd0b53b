"""What pkdot-compare takes from flags, before any data set is opened."""

import math

import pytest

from pkdot.comparison.config import CompareConfig
from pkdot.comparison.grid import run_config
from pkdot.comparison.grid_source import grid_of
from pkdot.config import OptimConfig


def test_the_optimisers_settings_reach_every_run() -> None:
    grid = grid_of(CompareConfig(data=("a", "b"), epochs=7, batch_size=9, lr=0.5))
    for settings in grid.sets.values():
        optim = run_config(settings).optim
        assert (optim.epochs, optim.batch_size, optim.lr) == (7, 9, 0.5)


def test_settings_that_are_not_given_have_the_defaults_of_pkdot_distill() -> None:
    (settings,) = grid_of(CompareConfig()).sets.values()
    assert run_config(settings).optim == OptimConfig()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", "big"),
        ("lr", math.nan),
        ("methods", "ot"),
        ("labels", (math.inf,)),
        ("tune", (math.nan,)),
        ("seeds", 2.5),
    ],
)
def test_a_setting_of_another_type_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} is .*; expected "):
        CompareConfig(**{name: value})  # type: ignore[arg-type]
