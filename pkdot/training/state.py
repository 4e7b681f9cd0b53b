"""The state of a training: its progress, one step, and how it is saved and restored.

All random numbers follow from (seed, epoch, step, sample), so a state does not contain a random generator.
"""

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pkdot.config import OptimConfig
from pkdot.data.batch import Batch
from pkdot.precision import NotFiniteError
from pkdot.training.checkpoints import load_state, save_state
from pkdot.training.objectives import Objective


@dataclass
class Progress:
    """The progress of a training.

    Attributes:
        epoch, step: the epoch that is trained, and how many of its steps are done.
        sums: the sums of the epoch's losses so far.
        score, tie, best_epoch: score, loss and epoch of the best model so far.
        rows: the number of lines in ``metrics.jsonl``.
        finished: the last epoch is done, or patience has run out.

    >>> progress = Progress()
    >>> progress.select({"score": 0.5, "loss": 1.0}), progress.select({"score": 0.5, "loss": 2.0})
    (True, False)
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    score: float = -math.inf
    tie: float = math.inf
    best_epoch: int = -1
    rows: int = 0
    finished: bool = False

    def select(self, metrics: dict[str, float]) -> bool:
        """Whether this epoch's model is the best so far: by its score, and among equal scores by its loss."""
        better = (metrics["score"], -metrics["loss"]) > (self.score, -self.tie)
        if better:
            self.score, self.tie, self.best_epoch = metrics["score"], metrics["loss"], self.epoch
        return better

    def end_epoch(self, rows: int, epochs: int, patience: int) -> None:
        """Count the epoch, and decide whether it was the last."""
        self.finished = self.epoch + 1 >= epochs or self.epoch - self.best_epoch >= patience
        self.epoch, self.step, self.sums, self.rows = self.epoch + 1, 0, {}, rows


class Training:
    """An objective, its optimiser and their progress.

    Args:
        objective: what is minimised.
        optim: the settings of the optimiser AdamW.
    """

    def __init__(self, objective: Objective, optim: OptimConfig) -> None:
        self.objective, self.progress = objective, Progress()
        self._optim = optim
        self._optimizer = torch.optim.AdamW(parameter_groups(objective.trained, optim.weight_decay), lr=optim.lr)

    def step(self, batch: Batch, rate: float, seed: int) -> None:
        """One step of the optimiser. Raises ``ValueError`` where the loss is no longer finite.

        Args:
            batch: what the loss is computed on.
            rate: the learning rate.
            seed: of the run; the dropout of the step follows from it.
        """
        objective, progress, optim = self.objective, self.progress, self._optim
        device = objective.network.device
        _seed(seed, progress, device)  # dropout
        diverged = f"training diverged in epoch {progress.epoch}, step {progress.step}"
        advice = f"Try a lower --optim.lr (now {optim.lr})."
        try:
            with torch.autocast(device.type, torch.bfloat16, enabled=optim.amp and device.type == "cuda"):
                losses = objective.losses(batch)
        except NotFiniteError as error:
            raise ValueError(f"{diverged}: {error} {advice}") from error
        values = {name: float(value.detach()) for name, value in losses.items()}
        if not math.isfinite(values["loss"]):
            listed = ", ".join(f"{name} = {value}" for name, value in values.items())
            raise ValueError(f"{diverged}: {listed}. {advice}")
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(objective.trained.parameters(), optim.clip)
        self._optimizer.step()
        for name, value in values.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + value
        progress.step += 1

    def save(self, path: Path) -> None:
        """Write all that a resumed run needs."""
        state = {
            "trained": self.objective.trained.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "objective": self.objective.state(),
            "progress": asdict(self.progress),
        }
        save_state(path, state)

    def restore(self, path: Path) -> None:
        """The inverse of :meth:`save`. Raises ``ValueError`` for a file that is damaged or of another model."""
        state = load_state(path)
        try:
            self.objective.trained.load_state_dict(state["trained"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.objective.restore(state["objective"])
            self.progress = Progress(**{part.name: state["progress"][part.name] for part in fields(Progress)})
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path}: does not fit this run's model ({str(error).splitlines()[0]}).") from error


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters in two groups for AdamW: weight decay for matrices and kernels, none for biases and other vectors.

    >>> [(len(group["params"]), group["weight_decay"]) for group in parameter_groups(nn.Linear(3, 2), 0.1)]
    [(1, 0.1), (1, 0.0)]
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _seed(seed: int, progress: Progress, device: torch.device) -> None:
    """Seed the dropout of one step."""
    words = np.random.SeedSequence([seed, progress.epoch, progress.step]).generate_state(1, np.uint64)
    # torch.manual_seed does the same, but takes a millisecond where there is no CUDA: it stores who called it.
    torch.default_generator.manual_seed(int(words[0] >> 1))
    if device.type == "cuda":
        torch.cuda.manual_seed(int(words[0] >> 1))
