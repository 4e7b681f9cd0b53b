"""The training loop of teachers and students: steps, validation, selection, and states to resume from.

A run may be stopped or killed at any moment: resumed, it ends bit-identical to a run that was not stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pkdot.config import OptimConfig, RunConfig
from pkdot.data.loader import Loader
from pkdot.training.advice import best_was_last, warn
from pkdot.training.interrupt import Interrupted, stop_requests
from pkdot.training.logbook import LogBook
from pkdot.training.model_file import save_model
from pkdot.training.objectives import Objective
from pkdot.training.progress import ProgressDisplay
from pkdot.training.run_folder import RunFolder
from pkdot.training.schedule import learning_rates, length
from pkdot.training.state import Progress, Training


class Watcher(Protocol):
    """Is called while a run trains, for example to draw pictures. It must not change what is trained."""

    def on_epoch(self, epoch: int, step: int, log: LogBook) -> None:
        """Called after each epoch, with the number of epochs and steps that are done."""
        ...

    def on_end(self, folder: RunFolder) -> None:
        """Called once the run is trained and tested."""
        ...


@dataclass(frozen=True)
class Trainee:
    """What a run trains.

    Attributes:
        objective: what the steps minimise.
        title: its name on the progress bar and in warnings.
        metadata: added to the metadata that every model file has.
        told: added to what every ``result.json`` has.
        watcher: called after each epoch and at the end.
    """

    objective: Objective
    title: str
    metadata: dict[str, Any] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    watcher: Watcher | None = None


def fit(
    trainee: Trainee,
    train: Loader,
    optim: OptimConfig,
    run: RunConfig,
    folder: RunFolder,
    metadata: Mapping[str, Any],
) -> Progress:
    """Train until the last epoch, or until patience runs out. ``folder.best`` then holds the selected model.

    Args:
        trainee: what is trained.
        train: the loader of the training split.
        optim: the settings of the optimiser, with numbers for "auto".
        run: gives the seed and how often states are saved.
        folder: the run folder; a state in ``folder.last`` is resumed.
        metadata: goes into the model file.

    Raises:
        Interrupted: after Ctrl-C; the state is saved.
        ValueError: the loss is no longer finite, or the state does not fit.
    """
    training = Training(trainee.objective, optim)
    if folder.last.exists():
        training.restore(folder.last)
    else:
        trainee.objective.start(train)
    progress, steps = training.progress, len(train)
    (epochs, patience), rates = length(optim), learning_rates(optim, steps)
    before = progress.epoch * steps
    display = ProgressDisplay(trainee.title, steps=steps, epochs=epochs, done=before + progress.step)
    with LogBook(folder, rows=progress.rows, step=before) as log, stop_requests() as stop, display:
        while not progress.finished:
            trainee.objective.trained.train()
            for batch in train.epoch(progress.epoch, start=progress.step):
                training.step(batch, rates[progress.epoch * steps + progress.step], run.seed)
                display.step()
                if stop.made or (run.checkpoint_steps and progress.step % run.checkpoint_steps == 0):
                    training.save(folder.last)
                if stop.made:
                    raise Interrupted(folder.path)
            metrics, done = trainee.objective.validate(), (progress.epoch + 1) * steps
            if progress.select(metrics):
                told = {**metadata, "epoch": progress.epoch, "validation": metrics}
                save_model(folder.best, trainee.objective.network.model, told)
            means = {name: total / steps for name, total in progress.sums.items()}
            log.epoch(progress.epoch, done, rates[done - 1], means, metrics)
            display.epoch(progress.epoch, means["loss"], metrics["score"])
            progress.end_epoch(log.rows, epochs, patience)
            if trainee.watcher is not None:
                trainee.watcher.on_epoch(progress.epoch, done, log)
            training.save(folder.last)
            if stop.made and not progress.finished:
                raise Interrupted(folder.path)
    warn(best_was_last(trainee.title, progress.best_epoch, epochs, progress.score))
    return progress
