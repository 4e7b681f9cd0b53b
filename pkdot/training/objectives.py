"""What a step of a teacher or a student minimises."""

import logging
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pkdot.data.batch import Batch
from pkdot.data.loader import Loader
from pkdot.model import Output
from pkdot.tasks import Task
from pkdot.training.advice import absurd_weights, warn
from pkdot.training.distillation import Distillation
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.network import Network

log = logging.getLogger(__name__)

BALANCE_BATCHES = 8
"""Batches over which the gradients of task and distillation are compared."""


class Objective(Protocol):
    """What a training minimises.

    Attributes:
        network: the model that is validated, selected and saved.
        trained: all modules whose parameters are trained: the model, and the losses' own connectors.
    """

    network: Network
    trained: nn.Module

    def start(self, train: Loader) -> None:
        """Prepare the first step of a new run; a resumed run calls :meth:`restore` instead."""
        ...

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name; ``loss`` is the one that is minimised."""
        ...

    def validate(self) -> dict[str, float]:
        """Metrics of the validation split, with ``score`` (higher is better) and ``loss`` (breaks ties)."""
        ...

    def state(self) -> dict[str, Any]:
        """What a resumed run needs in addition to the weights of ``trained``."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        ...


@runtime_checkable
class Hallucinates(Protocol):
    """A student that learns to produce the privileged streams."""

    def hallucination_loss(self, output: Output, teacher_streams: dict[str, Tensor]) -> Tensor:
        """The distance between the hallucinated streams and the teacher's."""
        ...


class TaskObjective:
    """The task alone: what a teacher minimises, and the first term of what a student minimises.

    Args:
        network: the model that is trained.
        task: the task that it answers.
        validation: a loader of the split that selects the best epoch.
    """

    def __init__(self, network: Network, task: Task, validation: Loader) -> None:
        self.network = network
        self.trained: nn.Module = network.model
        self._task, self._validation = task, validation

    def start(self, train: Loader) -> None:
        """Nothing to prepare."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The task loss over the labelled samples."""
        return {"loss": self.task_loss(self.network.run(batch), batch)}

    def task_loss(self, output: Output, batch: Batch) -> Tensor:
        """The task loss of the network's output for a batch."""
        target, labelled = batch.target.to(self.network.device), batch.labelled.to(self.network.device)
        return self._task.task_loss(output.prediction.float(), target, labelled)

    def validate(self) -> dict[str, float]:
        """The task's metrics and loss on the validation split."""
        predictions = self.network.predict(self._validation)
        metrics = predictions.metrics(self._task)
        return {"score": metrics[self._task.primary_metric], "loss": predictions.task_loss(self._task), **metrics}

    def state(self) -> dict[str, Any]:
        """Nothing: the weights of ``trained`` are enough."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing: the weights of ``trained`` are enough."""


class StudentObjective:
    """Task loss + weighted distillation losses.

    Args:
        task: the task's part.
        distillation: the losses between student and teacher; their own parameters are trained too.
        teacher: None for a student that learns from the labels alone.
        weight: a number, which is multiplied by each loss's share, or "auto": see :meth:`balance`.
        factor: multiplies balanced weights.
        seed: of the dropout while the gradients are measured.
    """

    def __init__(
        self,
        task: TaskObjective,
        distillation: Distillation,
        teacher: FrozenTeacher | None,
        *,
        weight: float | Literal["auto"] = "auto",
        factor: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.network = task.network
        self.trained: nn.Module = nn.ModuleDict({"model": task.network.model, "distillation": distillation})
        self.weights: dict[str, float] = {}
        self._task, self._distillation, self._teacher = task, distillation, teacher
        self._weight, self._factor, self._seed = weight, factor, seed

    def start(self, train: Loader) -> None:
        """Set the weights: as given, or balanced on the first batches."""
        if self._weight != "auto":
            self.weights = {name: float(self._weight) * share for name, share in self._distillation.shares.items()}
            return
        self.weights = self.balance(train)
        warn(absurd_weights(self.weights, self._factor))
        told = ", ".join(f"{name} {weight:.4g}" for name, weight in self.weights.items())
        log.info("distillation weight %s (gradient-balanced, factor %g)", told, self._factor)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The parts and their weighted sum."""
        output = self.network.run(batch)
        task = self._task.task_loss(output, batch)
        if self._teacher is None:
            return {"loss": task, "task": task}
        known = self._teacher(batch)
        parts = self._distillation(output, known, batch)
        weighted = [self.weights.get(name, 0.0) * part for name, part in parts.items()]
        total = task + torch.stack(weighted).sum()
        losses = {"task": task, **({"distill": next(iter(parts.values()))} if len(parts) == 1 else parts)}
        if isinstance(self.network.model, Hallucinates):
            losses["hallucination"] = self.network.model.hallucination_loss(output, known.streams)
            total = total + losses["hallucination"]
        return {"loss": total, **losses}

    def balance(self, train: Loader) -> dict[str, float]:
        """Weights ``factor * share * |d task / d embedding| / |d loss / d embedding|``, where the shares sum to 1.

        The gradients are measured on the first batches, before any step. Afterwards everything is as before: the
        models, their running statistics, and the losses' buffers.
        """
        if self._teacher is None:
            raise ValueError("a balanced weight needs a teacher, and there is none.")
        shares = self._distillation.shares
        before = {name: value.clone() for name, value in self.trained.state_dict().items()}
        self.trained.train()
        task_norm, norms = 0.0, dict.fromkeys(shares, 0.0)
        for number, batch in enumerate(train.epoch(0)):
            if number == BALANCE_BATCHES:
                break
            torch.manual_seed(self._seed + number)
            output = self.network.run(batch)
            task_norm += _gradient_norm(self._task.task_loss(output, batch), output.embedding)
            for name, loss in self._distillation(output, self._teacher(batch), batch).items():
                norms[name] += _gradient_norm(loss, output.embedding)
        self.trained.load_state_dict(before)
        whole = sum(shares.values())
        return {
            name: self._factor * share / whole * task_norm / norms[name] if norms[name] > 0 else 0.0
            for name, share in shares.items()
        }

    def validate(self) -> dict[str, float]:
        """The student's metrics and task loss on the validation split."""
        return self._task.validate()

    def state(self) -> dict[str, Any]:
        """The weights, which a resumed run must not measure again."""
        return {"weights": self.weights}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.weights = state["weights"]


def _gradient_norm(loss: Tensor, embedding: Tensor) -> float:
    if not loss.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad(loss, embedding, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError("the loss does not depend on the model's embedding: give --weight a number instead of auto.")
    return float(gradient.norm())
