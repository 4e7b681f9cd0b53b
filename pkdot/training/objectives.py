"""What a step of teacher and student minimises."""

import inspect
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pkdot.config import DistillConfig
from pkdot.data.batch import Batch
from pkdot.data.loader import Loader
from pkdot.losses import LOSSES
from pkdot.model import Output
from pkdot.tasks import Task
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
    """Task loss + weight x distillation loss, on the prevalent modalities.

    Args:
        criterion: the distillation loss; it may have parameters of its own, which are trained along.
        teacher: None only for a criterion and a student that need none.
        weight: None until :meth:`balance` finds it.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        names: tuple[str, ...],
        validation: Loader,
        device: torch.device,
        *,
        criterion: nn.Module,
        teacher: FrozenTeacher | None,
        weight: float | None,
    ) -> None:
        super().__init__(model, task, names, validation, device)
        self.trained = nn.ModuleDict({"model": model, "criterion": criterion})
        self.weight = weight
        self._criterion, self._teacher = criterion, teacher

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The parts and their weighted sum."""
        output = run_model(self.model, batch, self._names, self._device)
        task = self._task_loss(output, batch)
        if self._teacher is None:
            return {"loss": task, "task": task}
        known = self._teacher(batch)
        distill = self._distill_loss(output, known)
        losses = {"task": task, "distill": distill}
        total = task + (self.weight or 0.0) * distill
        if isinstance(self.model, Hallucinates):
            losses["hallucination"] = self.model.hallucination_loss(output, known.streams)
            total = total + losses["hallucination"]
        return {"loss": total, **losses}

    def _distill_loss(self, output: Output, known: Output) -> Tensor:
        part = getattr(self._criterion, "inputs", "embedding")
        loss: Tensor = self._criterion(getattr(output, part).float(), getattr(known, part).float())
        return loss

    def balance(self, train: Loader, factor: float, seed: int) -> float:
        """Set the weight to ``factor * |d task / d embedding| / |d distillation / d embedding|``.

        Measured on the first batches before any step, so that it is part of the run's start and not of its course;
        the model is left as it was, running statistics included.
        """
        if self._teacher is None:
            raise ValueError("a weight is balanced against a teacher, and there is none.")
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.trained.train()
        task_norm = distill_norm = 0.0
        for number, batch in enumerate(train.epoch(0)):
            if number == BALANCE_BATCHES:
                break
            torch.manual_seed(seed + number)
            output = run_model(self.model, batch, self._names, self._device)
            task_norm += _gradient_norm(self._task_loss(output, batch), output.embedding)
            distill_norm += _gradient_norm(self._distill_loss(output, self._teacher(batch)), output.embedding)
        self.model.load_state_dict(before)
        self.weight = factor * task_norm / distill_norm if distill_norm > 0 else 0.0
        return self.weight

    def state(self) -> dict[str, Any]:
        """The weight, which a resumed run must not measure again."""
        return {"weight": self.weight}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.weight = state["weight"]


def _gradient_norm(loss: Tensor, embedding: Tensor) -> float:
    if not loss.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad(loss, embedding, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError("the loss does not depend on the model's embedding: give --weight a number instead of auto.")
    return float(gradient.norm())


def build_criterion(config: DistillConfig, task: Task) -> nn.Module:
    """The loss module of ``config.method``. Raises ``ValueError`` for a setting that the method does not take."""
    kind = LOSSES[config.method]
    if getattr(kind, "inputs", "embedding") == "prediction" and task.loss != "cross-entropy":
        raise ValueError(f"method {config.method!r} compares class logits, and this task's loss is {task.loss!r}.")
    accepted = inspect.signature(kind).parameters
    chosen = {name: getattr(config, name) for name in ("topk", "select", "transport")}
    chosen = {name: value for name, value in chosen.items() if value != "auto"}
    for name in chosen:
        if name not in accepted:
            raise ValueError(f"--distill.{name} means nothing to method {config.method!r}; drop it.")
    temperature = config.kd_temperature if config.method == "kd" else config.temperature
    optional = {"blur": config.blur, "temperature": temperature}
    return kind(**chosen, **{name: value for name, value in optional.items() if name in accepted})
