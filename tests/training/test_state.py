"""Which parameters decay, which epoch is selected, and when a training ends."""

import pytest
from torch import nn

from pkdot.training.state import Progress, parameter_groups


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


def test_the_best_score_is_selected_and_among_equals_the_least_loss() -> None:
    progress, selected = Progress(), []
    for epoch, (score, loss) in enumerate([(0.5, 1.0), (0.4, 0.1), (0.5, 1.0), (0.5, 0.9), (float("nan"), 0.0)]):
        progress.epoch = epoch
        selected.append(progress.select({"score": score, "loss": loss}))
    assert selected == [True, False, False, True, False]
    assert (progress.score, progress.tie, progress.best_epoch) == (0.5, 0.9, 3)


@pytest.mark.parametrize(("epoch", "best", "finished"), [(8, 8, False), (9, 9, True), (5, 2, True), (4, 2, False)])
def test_a_training_ends_with_the_last_epoch_or_when_patience_runs_out(epoch: int, best: int, finished: bool) -> None:
    progress = Progress(epoch=epoch, step=7, sums={"loss": 1.0}, best_epoch=best)
    progress.end_epoch(rows=epoch + 1, epochs=10, patience=3)
    assert progress == Progress(epoch=epoch + 1, best_epoch=best, rows=epoch + 1, finished=finished)
