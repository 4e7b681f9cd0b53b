"""The loop that teacher and student share: steps, validation, selection, states to resume from.

Everything random follows from (seed, epoch, step, sample), so a state needs no generator, and a run that is stopped
anywhere, killed included, ends as one that was not.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pkdot.config import OptimConfig, RunConfig
from pkdot.data.batch import Batch
from pkdot.data.loader import Loader
from pkdot.precision import NotFiniteError
from pkdot.training.advice import best_was_last, warn
from pkdot.training.checkpoints import load_state, save_model, save_state
from pkdot.training.interrupt import Interrupted, stop_requests
from pkdot.training.logbook import LogBook
from pkdot.training.progress import ProgressDisplay
from pkdot.training.run_folder import RunFolder
from pkdot.training.schedule import learning_rate, length


class Objective(Protocol):
    """What a step minimises.

    Attributes:
        model: what is selected and saved.
        trained: everything with parameters to train: the model, and a loss's own connectors.
    """

    model: nn.Module
    trained: nn.Module

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name; ``loss`` is the one that is minimised."""
        ...

    def validate(self) -> dict[str, float]:
        """Metrics of the validation split, with ``score`` (higher is better) and ``loss`` (breaks ties)."""
        ...

    def state(self) -> dict[str, Any]:
        """What a resumed run must know beside the weights."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        ...


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch, step: the next epoch, and how many of its steps are done.
        sums: the running sums of the epoch's losses.
        score, tie, best_epoch: of the selected model so far.
        rows: lines of ``metrics.jsonl``.
        finished: no epoch is left, or patience has run out.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    score: float = -math.inf
    tie: float = math.inf
    best_epoch: int = -1
    rows: int = 0
    finished: bool = False


EpochEnd = Callable[[int, LogBook], None]


def fit(
    objective: Objective,
    train: Loader,
    optim: OptimConfig,
    run: RunConfig,
    folder: RunFolder,
    *,
    device: torch.device,
    metadata: dict[str, Any],
    title: str,
    on_epoch: EpochEnd | None = None,
) -> Progress:
    """Train until the last epoch or until patience runs out; ``folder.best`` then holds the selected model.

    Goes on from ``folder.last`` where there is one. Raises ``Interrupted`` after Ctrl-C, with the state saved, and
    ``ValueError`` where the loss is no longer finite.
    """
    optimizer = torch.optim.AdamW(parameter_groups(objective.trained, optim.weight_decay), lr=optim.lr)
    progress = _restore(folder.last, objective, optimizer) if folder.last.exists() else Progress()
    steps, (epochs, _) = len(train), length(optim)
    display = ProgressDisplay(title, steps=steps, epochs=epochs, done=progress.epoch * steps + progress.step)
    with LogBook(folder, rows=progress.rows, step=progress.epoch * steps) as log, stop_requests() as stop, display:
        while not progress.finished:
            objective.trained.train()
            for batch in train.epoch(progress.epoch, start=progress.step):
                rate = learning_rate(progress.epoch * steps + progress.step, steps * epochs, optim)
                _step(objective, batch, optimizer, rate, optim, _stream(run.seed, progress), progress, device)
                display.step()
                if stop.made or (run.checkpoint_steps and progress.step % run.checkpoint_steps == 0):
                    _save(folder.last, objective, optimizer, progress)
                if stop.made:
                    raise Interrupted(folder.path)
            loss = progress.sums["loss"] / steps
            metrics = _end_epoch(objective, progress, steps, optim, folder, metadata, log)
            if on_epoch is not None:
                on_epoch(progress.epoch, log)
            display.epoch(progress.epoch - 1, loss, metrics["score"])
            _save(folder.last, objective, optimizer, progress)
            if stop.made and not progress.finished:
                raise Interrupted(folder.path)
    warn(best_was_last(title, progress.best_epoch, epochs, progress.score))
    return progress


def _step(
    objective: Objective,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    rate: float,
    optim: OptimConfig,
    stream: int,
    progress: Progress,
    device: torch.device,
) -> None:
    _seed(stream, device)  # dropout
    diverged = f"training diverged in epoch {progress.epoch}, step {progress.step}"
    advice = f"Try a lower --optim.lr (now {optim.lr})."
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=optim.amp and device.type == "cuda"):
            losses = objective.losses(batch)
    except NotFiniteError as error:
        raise ValueError(f"{diverged}: {error} {advice}") from error
    values = {name: float(value.detach()) for name, value in losses.items()}
    if not math.isfinite(values["loss"]):
        told = ", ".join(f"{name} = {value}" for name, value in values.items())
        raise ValueError(f"{diverged}: {told}. {advice}")
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(objective.trained.parameters(), optim.clip)
    optimizer.step()
    for name, value in values.items():
        progress.sums[name] = progress.sums.get(name, 0.0) + value
    progress.step += 1


def _end_epoch(
    objective: Objective,
    progress: Progress,
    steps: int,
    optim: OptimConfig,
    folder: RunFolder,
    metadata: dict[str, Any],
    log: LogBook,
) -> dict[str, float]:
    """Validate, select, write the epoch's row, and move on to the next epoch."""
    metrics = objective.validate()
    epoch, done = progress.epoch, (progress.epoch + 1) * steps
    if (metrics["score"], -metrics["loss"]) > (progress.score, -progress.tie):
        progress.score, progress.tie, progress.best_epoch = metrics["score"], metrics["loss"], epoch
        save_model(folder.best, objective.model, {**metadata, "epoch": epoch, "validation": metrics})
    epochs, patience = length(optim)
    rate = learning_rate(done - 1, steps * epochs, optim)
    means = {name: total / steps for name, total in progress.sums.items()}
    log.row({"epoch": epoch, "step": done, "lr": rate, "train": means, "val": metrics})
    log.scalars({f"train/{name}": value for name, value in means.items()}, done)
    log.scalars({f"val/{name}": value for name, value in metrics.items()} | {"lr": rate}, done)
    progress.epoch, progress.step, progress.sums, progress.rows = epoch + 1, 0, {}, log.rows
    progress.finished = progress.epoch >= epochs or epoch - progress.best_epoch >= patience
    return metrics


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay for matrices and kernels, none for biases, norms and other vectors."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _seed(stream: int, device: torch.device) -> None:
    """As torch.manual_seed, which takes a millisecond to remember who called it where there is no CUDA."""
    torch.default_generator.manual_seed(stream)
    if device.type == "cuda":
        torch.cuda.manual_seed(stream)


def _stream(seed: int, progress: Progress) -> int:
    """The seed of one step's dropout."""
    return int(np.random.SeedSequence([seed, progress.epoch, progress.step]).generate_state(1, np.uint64)[0] >> 1)


def _save(path: Path, objective: Objective, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    state = {
        "trained": objective.trained.state_dict(),
        "optimizer": optimizer.state_dict(),
        "objective": objective.state(),
        "progress": asdict(progress),
    }
    save_state(path, state)


def _restore(path: Path, objective: Objective, optimizer: torch.optim.Optimizer) -> Progress:
    state = load_state(path)
    try:
        objective.trained.load_state_dict(state["trained"])
        optimizer.load_state_dict(state["optimizer"])
        objective.restore(state["objective"])
        return Progress(**{key: state["progress"][key] for key in (f.name for f in fields(Progress))})
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: does not fit this run's model ({str(error).splitlines()[0]}).") from error
