"""From ``--method`` to what a step adds to the task loss: the losses, what they are told, and how they are balanced."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pkdot.config import DistillConfig
from pkdot.data.batch import Batch
from pkdot.losses import LOSSES, OTDistillLoss
from pkdot.methods import parse_method
from pkdot.model import Output
from pkdot.tasks import Task
from pkdot.training.alignment import TeacherPool

_SIZES = ("student_width", "teacher_width", "samples")
"""Parameters of losses that follow from the models and the data."""
FEW_LABELS_FACTOR, ALL_LABELS_FACTOR = 8.0, 0.5
"""Factors on a balanced weight that served best with few and with all labels."""

# Which setting of the command is a loss's temperature: they are measured in different units.
_TEMPERATURES = {"ot": "temperature", "mt-ot": "temperature", "structure-kl": "temperature", "kd": "kd_temperature"}


def build_criteria(
    config: DistillConfig, task: Task, *, student_width: int, teacher_width: int, samples: int
) -> dict[str, nn.Module]:
    """The loss modules of ``config.method``. Raises ``ValueError`` as :func:`loss_settings` does."""
    sizes = dict(zip(_SIZES, (student_width, teacher_width, samples), strict=True))
    criteria = {}
    for name, settings in loss_settings(config, task).items():
        kind = LOSSES[name]
        known = {size: value for size, value in sizes.items() if size in accepted_settings(kind)}
        try:
            criteria[name] = kind(**known, **settings)
        except TypeError as error:
            raise ValueError(f"--set: {error}") from error
    return criteria


def loss_settings(config: DistillConfig, task: Task) -> dict[str, dict[str, Any]]:
    """What ``config`` says to each loss of ``config.method``, by the names of the loss's own parameters.

    Raises:
        ValueError: a method does not fit the task, or a setting means nothing to any of them.
    """
    kinds = {name: LOSSES[name] for name in parse_method(config.method)}
    for name, kind in kinds.items():
        _check_task(name, kind, task)
    settings: dict[str, dict[str, Any]] = {name: {} for name in kinds}
    accepted = {name: set(accepted_settings(kind)) for name, kind in kinds.items()}
    for name, found in settings.items():
        if "blur" in accepted[name]:
            found["blur"] = config.blur
        if name in _TEMPERATURES:
            found["temperature"] = getattr(config, _TEMPERATURES[name])
        if name == "mad" and task.kind == "regression":
            found["uncertainty"] = "error"
    for word in ("topk", "select", "transport"):
        if getattr(config, word) != "auto":
            _give(word, getattr(config, word), settings, accepted, f"--distill.{word}")
    for setting in config.settings:
        word, _, value = setting.partition("=")
        _give(word.strip(), _value(value.strip()), settings, accepted, f"--set {setting}")
    return settings


def balance_factor(factor: float | Literal["auto"], label_share: float) -> float:
    """The factor on a balanced weight: few labels need more of the teacher."""
    if factor != "auto":
        return factor
    return ALL_LABELS_FACTOR if label_share >= 0.5 else FEW_LABELS_FACTOR


def _check_task(name: str, kind: type[nn.Module], task: Task) -> None:
    wanted = getattr(kind, "task", None)
    if wanted == "classes" and task.loss != "cross-entropy":
        raise ValueError(f"method {name!r} compares class logits, and this task's loss is {task.loss!r}.")
    if wanted == "regression" and task.kind != "regression":
        raise ValueError(f"method {name!r} compares regression outputs, and this task is {task.kind}.")
    fewest = getattr(kind, "classes", 1)
    if wanted == "classes" and len(task.classes) < fewest:
        raise ValueError(f"method {name!r} needs at least {fewest} classes, and this task has {len(task.classes)}.")


def accepted_settings(kind: type[nn.Module]) -> dict[str, Any]:
    """The parameters of a loss with their defaults; ``inspect.Parameter.empty`` stands where there is none."""
    if kind.__init__ is nn.Module.__init__:
        return {}
    parameters = dict(inspect.signature(kind).parameters)
    further = [name for name, parameter in parameters.items() if parameter.kind == inspect.Parameter.VAR_KEYWORD]
    for name in further:  # they go to the loss that it is built on
        del parameters[name]
        parameters = {**inspect.signature(OTDistillLoss).parameters, **parameters}
    return {name: parameter.default for name, parameter in parameters.items()}


def _give(
    word: str, value: Any, settings: dict[str, dict[str, Any]], accepted: Mapping[str, set[str]], flag: str
) -> None:
    """Hand a setting to the methods that take it, or to the one that is named before a point."""
    method, point, plain = word.rpartition(".")
    takers = [name for name in settings if plain in accepted[name] and (not point or name == method)]
    if not takers:
        known = sorted(set().union(*accepted.values()) - {*_SIZES, "gather"})
        raise ValueError(
            f"{flag} means nothing to method {'+'.join(settings)!r}, which takes {', '.join(known) or 'no settings'}."
        )
    for name in takers:
        settings[name][plain] = value


def _value(text: str) -> int | float | str | bool:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


class Distillation(nn.Module):
    """Several losses between student and teacher, each told what it needs beside their outputs.

    Args:
        criteria: the losses; parameters of their own are trained along.
        shares: how much each counts, relative to the others.
        task: of the student.
        rows: position of each training sample, by its id.
        pool: the aligned teachers, for a loss that chooses among several.
    """

    def __init__(
        self,
        criteria: dict[str, nn.Module],
        shares: dict[str, float],
        task: Task,
        *,
        rows: Mapping[str, int],
        pool: TeacherPool | None = None,
    ) -> None:
        super().__init__()
        self.criteria = nn.ModuleDict(criteria)
        self.shares = shares
        self._task, self._rows, self._pool = task, rows, pool

    def forward(self, output: Output, known: Output, batch: Batch) -> dict[str, Tensor]:
        """Each loss by its name, from the student's output and the teacher's."""
        losses = {}
        for name, criterion in self.criteria.items():
            part = getattr(criterion, "inputs", "embedding")
            context = {word: _CONTEXT[word](self, known, batch) for word in getattr(criterion, "needs", ())}
            losses[name] = criterion(getattr(output, part).float(), getattr(known, part).float(), **context)
        return losses

    def _target(self, known: Output, batch: Batch) -> Tensor:
        target = batch.target.to(known.prediction.device)
        return self._task.encode(target, known.prediction) if self._task.kind == "regression" else target

    def _index(self, known: Output, batch: Batch) -> Tensor:
        return torch.tensor([self._rows[name] for name in batch.ids], device=known.embedding.device)

    def _teachers(self, known: Output, batch: Batch) -> Tensor:
        return self._aligned().embeddings(known)

    def _errors(self, known: Output, batch: Batch) -> Tensor:
        device = known.prediction.device
        return self._aligned().errors(known, batch.target.to(device), batch.labelled.to(device))

    def _aligned(self) -> TeacherPool:
        if self._pool is None:
            raise ValueError("this method chooses among several teachers, and none were aligned.")
        return self._pool


_CONTEXT: dict[str, Callable[[Distillation, Output, Batch], Tensor]] = {
    "target": Distillation._target,
    "labelled": lambda _, known, batch: batch.labelled.to(known.prediction.device),
    "index": Distillation._index,
    "teacher_prediction": lambda _, known, __: known.prediction,
    "teachers": Distillation._teachers,
    "errors": Distillation._errors,
}
