import math
from pathlib import Path

import pytest

from pkdot.config import OptimConfig
from pkdot.training.provenance import to_toml
from pkdot.training.schedule import LEAST_EPOCHS, MOST_EPOCHS, STEPS, learning_rate, length, resolved
from pkdot.training.teacher import train_teacher
from tests.support import teacher_config


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


def test_the_main_job_has_twenty_epochs() -> None:
    assert length(resolved(OptimConfig(), samples=440)) == (20, 8)


@pytest.mark.parametrize(("samples", "batch_size"), [(200, 32), (33, 16), (64, 8), (65, 8), (300, 32)])
def test_small_data_get_the_stated_number_of_steps_and_no_epoch_more(samples: int, batch_size: int) -> None:
    epochs, _ = length(resolved(OptimConfig(batch_size=batch_size), samples))
    steps = math.ceil(samples / batch_size)
    assert (epochs - 1) * steps < STEPS <= epochs * steps


def test_large_data_get_the_least_and_tiny_data_the_most_epochs() -> None:
    assert length(resolved(OptimConfig(), samples=10**6))[0] == LEAST_EPOCHS
    assert length(resolved(OptimConfig(), samples=1))[0] == MOST_EPOCHS


def test_numbers_that_were_given_stay() -> None:
    optim = OptimConfig(epochs=3, patience=2, lr=0.5)
    assert resolved(optim, samples=60) == optim


def test_patience_grows_with_epochs_that_were_given() -> None:
    assert length(resolved(OptimConfig(epochs=100), samples=60)) == (100, 40)
    assert length(resolved(OptimConfig(epochs=5), samples=60)) == (5, 8)


def test_settings_that_are_not_resolved_have_no_length() -> None:
    with pytest.raises(ValueError, match="epochs 'auto'"):
        length(OptimConfig())


def test_the_config_of_a_run_has_the_numbers(vectors: Path, tmp_path: Path) -> None:
    config = teacher_config(vectors, tmp_path)
    config.optim = OptimConfig(batch_size=64, patience=1)
    run = train_teacher(config)
    written = run.folder.config.read_text()
    assert f"epochs = {length(resolved(config.optim, run.result['train_samples']))[0]}\n" in written
    assert 'epochs = "auto"' in to_toml(config)  # the caller's own config stays as it was
