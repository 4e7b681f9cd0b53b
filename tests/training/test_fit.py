"""What the loop does to parameters, step by step, and which of its models it keeps: against loops written out here."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pkdot.config import OptimConfig, RunConfig
from pkdot.data.batch import Batch
from pkdot.data.loader import Loader
from pkdot.training.checkpoints import load_state
from pkdot.training.loop import Trainee, fit
from pkdot.training.network import Network
from pkdot.training.run_folder import RunFolder
from pkdot.training.schedule import learning_rate
from pkdot.training.state import Progress
from tests.training.toys import InMemory, loader_of

CPU = torch.device("cpu")
OPTIM = OptimConfig(epochs=4, patience=4, batch_size=4, lr=0.05, weight_decay=0.3, warmup=0.25, clip=0.7)


class Toy:
    """A model, and a connector beside it, that answer a linear question; scores of validation are given."""

    def __init__(self, scores: list[float] | None = None, losses: list[float] | None = None) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Linear(4, 3)
        self.network = Network(self.model, ("weak",), CPU)
        self.trained: nn.Module = nn.ModuleDict({"model": self.model, "connector": nn.Linear(3, 3)})
        self.scores, self.ties = scores or [0.5] * 9, losses or [1.0] * 9
        self.drawn: list[float] = []
        self.kept: list[dict[str, Tensor]] = []
        self.steps, self.started = 0, False

    def start(self, train: Loader) -> None:
        self.started = True

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        assert self.trained.training
        self.drawn.append(float(torch.rand(())))
        self.steps += 1
        return {"loss": loss_of(self.trained, batch), "first": torch.tensor(float(self.steps))}

    def validate(self) -> dict[str, float]:
        self.trained.eval()  # whoever validates need not put it back
        self.kept.append({name: value.clone() for name, value in self.model.state_dict().items()})
        epoch = len(self.kept) - 1
        return {"score": self.scores[epoch], "loss": self.ties[epoch]}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


def loss_of(trained: nn.Module, batch: Batch) -> Tensor:
    answer = trained["connector"](trained["model"](batch.modalities["weak"]))  # type: ignore[index]
    wanted = 3 * nn.functional.one_hot(batch.target, 3)
    loss: Tensor = (answer - wanted).square().sum(1).mean()
    return loss


def trainee_of(toy: Toy) -> Trainee:
    return Trainee(toy, title="toy")


def fitted(toy: Toy, folder: Path, optim: OptimConfig = OPTIM, seed: int = 0) -> Progress:
    folder.mkdir(parents=True, exist_ok=True)
    train = loader_of(InMemory(18), shuffle=True, seed=seed)
    run = RunConfig(seed=seed)
    return fit(trainee_of(toy), train, optim, run, RunFolder(folder), {"kind": "toy"})


def by_hand(optim: OptimConfig) -> nn.Module:
    """The same training with torch's own optimiser: decay on matrices, clipped gradients, the schedule's rates."""
    trained = Toy().trained
    parameters = dict(trained.named_parameters())
    groups = [
        {"params": [p for p in parameters.values() if p.ndim == 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in parameters.values() if p.ndim == 1], "weight_decay": 0.0},
    ]
    assert isinstance(optim.epochs, int)
    adam, step = torch.optim.AdamW(groups), 0
    train = loader_of(InMemory(18), shuffle=True)
    for epoch in range(optim.epochs):
        for batch in train.epoch(epoch):
            for group in adam.param_groups:
                group["lr"] = learning_rate(step, 5 * optim.epochs, optim)
            gradients = torch.autograd.grad(loss_of(trained, batch), list(parameters.values()))
            norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
            for parameter, gradient in zip(parameters.values(), gradients, strict=True):
                parameter.grad = gradient * min(1.0, optim.clip / norm)
            adam.step()
            step += 1
    return trained


@pytest.mark.parametrize(
    "changed",
    [{}, {"clip": 1e6}, {"weight_decay": 0.0}, {"lr": 0.01}, {"warmup": 0.0}, {"epochs": 2}],
    ids=lambda changed: next(iter(changed), "as it is"),
)
def test_parameters_move_as_in_a_loop_written_out(tmp_path: Path, changed: dict[str, float]) -> None:
    optim = replace(OPTIM, **changed)
    toy = Toy()
    fitted(toy, tmp_path, optim)
    expected = by_hand(optim).state_dict()
    for name, value in toy.trained.state_dict().items():
        assert torch.allclose(value, expected[name], atol=2e-5), name
    # The loops differ in what is changed: it counts for something here.
    if changed:
        plain = by_hand(OPTIM).state_dict()
        assert any((value - plain[name]).abs().max() > 1e-3 for name, value in expected.items())


@pytest.mark.parametrize(
    ("scores", "losses", "best"),
    [
        ([0.2, 0.9, 0.4, 0.6], [1.0] * 4, 1),
        ([0.9, 0.2, 0.4, 0.6], [1.0] * 4, 0),
        ([-0.9, -0.8, -0.7, -0.6], [1.0, 2.0, 3.0, 4.0], 3),
        ([0.5, 0.5, 0.5, 0.5], [1.0, 0.8, 0.6, 0.9], 2),
        ([0.5, 0.5, 0.6, 0.6], [0.1, 0.1, 0.9, 0.9], 2),
    ],
)
def test_the_model_of_the_best_score_is_kept_and_among_equals_that_of_the_least_loss(
    tmp_path: Path, scores: list[float], losses: list[float], best: int
) -> None:
    toy = Toy(scores, losses)
    progress = fitted(toy, tmp_path)
    folder = RunFolder(tmp_path)
    assert progress.best_epoch == best
    saved = load_file(folder.best)
    assert all(torch.equal(value, saved[name]) for name, value in toy.kept[best].items())
    assert saved.keys() == toy.kept[best].keys()
    told = json.loads(folder.metadata.read_text())
    assert (told["epoch"], told["validation"]["score"], told["kind"]) == (best, scores[best], "toy")


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (9, 9)])
def test_training_ends_so_many_epochs_after_the_best(tmp_path: Path, patience: int, epochs: int) -> None:
    toy = Toy([0.1, 0.8, 0.3, 0.4, 0.5, 0.6, 0.7, 0.7, 0.7])
    progress = fitted(toy, tmp_path, replace(OPTIM, epochs=9, patience=patience))
    assert len(toy.kept) == progress.epoch == epochs
    assert progress.best_epoch == 1


def test_every_step_has_random_numbers_of_its_own_that_the_seed_decides(tmp_path: Path) -> None:
    toys = [Toy() for _ in range(3)]
    for number, (toy, seed) in enumerate(zip(toys, (0, 0, 1), strict=True)):
        torch.manual_seed(number)  # whatever was drawn before has no say
        fitted(toy, tmp_path / str(number), seed=seed)
    assert len(set(toys[0].drawn)) == len(toys[0].drawn) == 20
    assert toys[0].drawn == toys[1].drawn
    assert not set(toys[0].drawn) & set(toys[2].drawn)


def test_a_row_has_the_mean_of_the_epochs_losses_and_what_validation_said(tmp_path: Path) -> None:
    fitted(Toy([0.1, 0.2, 0.3, 0.4]), tmp_path)
    rows = [json.loads(line) for line in RunFolder(tmp_path).metrics.read_text().splitlines()]
    assert [row["train"]["first"] for row in rows] == [3.0, 8.0, 13.0, 18.0]
    assert [row["val"] for row in rows] == [{"score": score, "loss": 1.0} for score in (0.1, 0.2, 0.3, 0.4)]
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert [row["lr"] for row in rows] == pytest.approx([learning_rate(step, 20, OPTIM) for step in (4, 9, 14, 19)])


@pytest.mark.parametrize(
    ("every", "failing", "saved"), [(2, 4, (0, 2)), (3, 4, (0, 3)), (2, 8, (1, 2)), (0, 8, (1, 0))]
)
def test_a_state_is_saved_every_so_many_steps_and_after_each_epoch(
    tmp_path: Path, every: int, failing: int, saved: tuple[int, int]
) -> None:
    class Failing(Toy):
        def losses(self, batch: Batch) -> dict[str, Tensor]:
            if self.steps + 1 == failing:
                raise RuntimeError("stopped here")
            return super().losses(batch)

    train = loader_of(InMemory(18), shuffle=True)
    run = RunConfig(checkpoint_steps=every)
    with pytest.raises(RuntimeError, match="stopped here"):
        fit(trainee_of(Failing()), train, OPTIM, run, RunFolder(tmp_path), {})
    progress = load_state(RunFolder(tmp_path).last)["progress"]
    assert (progress["epoch"], progress["step"]) == saved
    # Resumed, it ends as one that was not stopped.
    resumed, whole = Toy(), Toy()
    fit(trainee_of(resumed), train, OPTIM, run, RunFolder(tmp_path), {})
    fitted(whole, tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True))
    assert whole.started
    assert not resumed.started
    assert resumed.drawn == whole.drawn[5 * saved[0] + saved[1] :]
