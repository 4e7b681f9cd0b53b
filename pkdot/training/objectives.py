"""What a step of teacher and student minimises."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pkdot.data.batch import Batch
from pkdot.data.loader import Loader
from pkdot.model import Output
from pkdot.tasks import Task
from pkdot.training.distillation import Distillation
from pkdot.training.evaluation import predict, run_model
from pkdot.training.frozen import FrozenTeacher

BALANCE_BATCHES = 8
"""Batches over which the gradients of task and distillation are compared."""


@runtime_checkable
class Hallucinates(Protocol):
    """A student that learns to produce the privileged streams."""

    def hallucination_loss(self, output: Output, teacher_streams: dict[str, Tensor]) -> Tensor:
        """How far the hallucinated streams are from the teacher's."""
        ...


class TeacherObjective:
    """The task loss on all modalities."""

    def __init__(
        self, model: nn.Module, task: Task, names: tuple[str, ...], validation: Loader, device: torch.device
    ) -> None:
        self.model = model
        self.trained: nn.Module = model
        self._task, self._names, self._validation, self._device = task, names, validation, device

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The task loss over the labelled samples."""
        output = run_model(self.model, batch, self._names, self._device)
        return {"loss": self._task_loss(output, batch)}

    def _task_loss(self, output: Output, batch: Batch) -> Tensor:
        target, labelled = batch.target.to(self._device), batch.labelled.to(self._device)
        return self._task.task_loss(output.prediction.float(), target, labelled)

    def validate(self) -> dict[str, float]:
        """The task's metrics and loss on the validation split."""
        predictions = predict(self.model, self._validation, self._names, self._device)
        metrics = predictions.metrics(self._task)
        return {"score": metrics[self._task.primary_metric], "loss": predictions.task_loss(self._task), **metrics}

    def state(self) -> dict[str, Any]:
        """Nothing beside the weights."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing beside the weights."""


class StudentObjective(TeacherObjective):
    """Task loss + weighted distillation losses, on the prevalent modalities.

    Args:
        distillation: the losses; parameters of their own are trained along.
        teacher: None only for a student that needs none.
        weights: of each loss; None until :meth:`balance` finds them.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        names: tuple[str, ...],
        validation: Loader,
        device: torch.device,
        *,
        distillation: Distillation,
        teacher: FrozenTeacher | None,
        weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(model, task, names, validation, device)
        self.trained = nn.ModuleDict({"model": model, "distillation": distillation})
        self.weights = weights
        self._distillation, self._teacher = distillation, teacher

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The parts and their weighted sum."""
        output = run_model(self.model, batch, self._names, self._device)
        task = self._task_loss(output, batch)
        if self._teacher is None:
            return {"loss": task, "task": task}
        known = self._teacher(batch)
        parts = self._distillation(output, known, batch)
        weighted = [(self.weights or {}).get(name, 0.0) * part for name, part in parts.items()]
        total = task + torch.stack(weighted).sum()
        losses = {"task": task, **({"distill": next(iter(parts.values()))} if len(parts) == 1 else parts)}
        if isinstance(self.model, Hallucinates):
            losses["hallucination"] = self.model.hallucination_loss(output, known.streams)
            total = total + losses["hallucination"]
        return {"loss": total, **losses}

    def balance(self, train: Loader, factor: float, seed: int) -> dict[str, float]:
        """Set each weight to ``factor * share * |d task / d embedding| / |d loss / d embedding|``; shares sum to 1.

        Measured on the first batches before any step, so that it is part of the run's start and not of its course;
        the models are left as they were, running statistics and memories included.
        """
        if self._teacher is None:
            raise ValueError("a weight is balanced against a teacher, and there is none.")
        shares = self._distillation.shares
        before = {name: value.clone() for name, value in self.trained.state_dict().items()}
        self.trained.train()
        task_norm, norms = 0.0, dict.fromkeys(shares, 0.0)
        for number, batch in enumerate(train.epoch(0)):
            if number == BALANCE_BATCHES:
                break
            torch.manual_seed(seed + number)
            output = run_model(self.model, batch, self._names, self._device)
            task_norm += _gradient_norm(self._task_loss(output, batch), output.embedding)
            for name, loss in self._distillation(output, self._teacher(batch), batch).items():
                norms[name] += _gradient_norm(loss, output.embedding)
        self.trained.load_state_dict(before)
        whole = sum(shares.values())
        self.weights = {
            name: factor * share / whole * task_norm / norms[name] if norms[name] > 0 else 0.0
            for name, share in shares.items()
        }
        return self.weights

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
