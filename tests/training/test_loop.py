import math

import pytest
from torch import nn

from pkdot.config import OptimConfig
from pkdot.training.loop import learning_rate, parameter_groups


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    optim = OptimConfig(lr=0.5, warmup=0.2)
    rates = [learning_rate(step, 100, optim) for step in range(101)]
    assert rates[0] == pytest.approx(0.5 / 20)
    assert max(rates) == rates[19] == pytest.approx(0.5)
    assert rates[60] == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert rates[100] == pytest.approx(0.0)
    assert rates[20:] == sorted(rates[20:], reverse=True)


@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_shortest_schedules_have_finite_rates(total: int) -> None:
    assert all(0 <= learning_rate(step, total, OptimConfig(warmup=1.0)) <= OptimConfig().lr for step in range(total))


def test_biases_and_norms_do_not_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Conv1d(2, 2, 3))
    decayed, free = parameter_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    assert {p.ndim for p in decayed["params"]} == {2, 3}
    assert {p.ndim for p in free["params"]} == {1}
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(3, 2).requires_grad_(False)
    assert all(not group["params"] for group in parameter_groups(model, 0.1))
