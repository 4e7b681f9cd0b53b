"""What a distillation loss tells its trainer, and the losses that compare samples with each other."""

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from pkdot.losses._inputs import gather_pair
from pkdot.tasks import Task

Inputs = Literal["embedding", "prediction"]
"""The output of student and teacher that a loss compares."""

Context = Literal["target", "labelled", "index", "teacher_prediction", "teachers", "errors"]
"""What a loss may need beside the two outputs: further arguments of its ``forward``, by their names."""

TemperatureUnit = Literal["similarity", "logit"]
"""The unit of a temperature that the commands set: cosine similarity, or logits of a classifier."""


class DistillationLoss(nn.Module):
    """A loss between the outputs of student and teacher, ``loss(student, teacher)``.

    A subclass overrides what differs from these defaults. A plain ``nn.Module`` in ``LOSSES`` works as well: it
    compares embeddings and needs nothing else.

    Attributes:
        inputs: the output that is compared.
        needs: further arguments of ``forward``.
        task: what the predictions must be: ``any``, logits of ``classes``, or ``regression`` outputs.
        fewest_classes: smallest number of classes; with fewer the loss is undefined or equals another loss.
        temperature_unit: unit of the parameter ``temperature``, if the commands set it: ``--distill.temperature`` in
            units of similarity, ``--distill.kd-temperature`` in units of logits. None: the loss has no temperature, or
            keeps its own default.
        several_teachers: the loss chooses among several teachers, which the trainer has to align first.

    >>> class Centroid(DistillationLoss):
    ...     def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
    ...         return (student.mean(0) - teacher.detach().mean(0)).square().sum()
    >>> Centroid.inputs, Centroid.needs
    ('embedding', ())
    """

    inputs: ClassVar[Inputs] = "embedding"
    needs: ClassVar[tuple[Context, ...]] = ()
    task: ClassVar[Literal["any", "classes", "regression"]] = "any"
    fewest_classes: ClassVar[int] = 1
    temperature_unit: ClassVar[TemperatureUnit | None] = None
    several_teachers: ClassVar[bool] = False

    @classmethod
    def misfit(cls, task: Task) -> str:
        """Say why the loss cannot be used for a task; empty if it can."""
        if cls.task == "classes" and task.loss != "cross-entropy":
            return f"compares class logits, and this task's loss is {task.loss!r}"
        if cls.task == "regression" and task.kind != "regression":
            return f"compares regression outputs, and this task is {task.kind}"
        if cls.task == "classes" and len(task.classes) < cls.fewest_classes:
            return f"needs at least {cls.fewest_classes} classes, and this task has {len(task.classes)}"
        return ""

    @classmethod
    def settings_for(cls, task: Task) -> dict[str, Any]:
        """Settings that follow from the task, if the user does not give them."""
        return {}

    @classmethod
    def accepted_settings(cls) -> dict[str, Any]:
        """The keyword parameters of the loss with their defaults, or ``inspect.Parameter.empty`` without a default."""
        return keywords_of(cls)


class GlobalBatchLoss(DistillationLoss, ABC):
    """A loss over the global batch: :meth:`compare` sees the samples of all processes, with the exact gradient.

    Args:
        gather: False compares the samples of this process only.

    >>> class Gram(GlobalBatchLoss):
    ...     def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
    ...         return (student @ student.mT - teacher @ teacher.mT).square().mean()
    >>> Gram(gather=False).gather
    False
    """

    def __init__(self, *, gather: bool = True) -> None:
        super().__init__()
        self.gather = gather

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        if self.gather:
            student, teacher = gather_pair(student, teacher)
        return self.compare(student, teacher)

    @abstractmethod
    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of the whole batch."""


def declared_by(loss: nn.Module | type[nn.Module]) -> DistillationLoss | type[DistillationLoss]:
    """Return the object whose declarations hold: the loss itself, or the base class for a plain ``nn.Module``.

    Raises:
        ValueError: a plain module declares ``inputs`` or ``needs``, which would be ignored.

    >>> declared_by(nn.Identity).needs
    ()
    """
    kind = loss if isinstance(loss, type) else type(loss)
    if issubclass(kind, DistillationLoss):
        return loss  # type: ignore[return-value]
    if hasattr(kind, "inputs") or hasattr(kind, "needs"):
        raise ValueError(f"{kind.__name__} declares inputs or needs; expected a subclass of DistillationLoss.")
    return DistillationLoss


def keywords_of(kind: type[nn.Module]) -> dict[str, Any]:
    """Return the named parameters of a module's constructor with their defaults.

    >>> keywords_of(nn.Flatten)
    {'start_dim': 1, 'end_dim': -1}
    """
    if kind.__init__ is nn.Module.__init__:
        return {}
    parameters = inspect.signature(kind).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {each.name: each.default for each in parameters if each.kind not in several}
