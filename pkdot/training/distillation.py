"""Build the losses that ``--method`` names, and give each what it needs besides the two outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pkdot.config import DistillConfig
from pkdot.data.batch import Batch
from pkdot.losses import LOSSES
from pkdot.losses.base import DistillationLoss, TemperatureUnit, declared_by, keywords_of
from pkdot.methods import parse_method
from pkdot.model import Output
from pkdot.tasks import Task
from pkdot.training.alignment import TeacherPool

_SIZES = ("student_width", "teacher_width", "samples")
"""Parameters of losses that follow from the models and the data."""
FEW_LABELS_FACTOR, ALL_LABELS_FACTOR = 8.0, 0.5
"""Factors on a balanced weight, with few and with all labels."""


def build_criteria(
    config: DistillConfig, task: Task, *, student_width: int, teacher_width: int, samples: int
) -> dict[str, nn.Module]:
    """Build the losses of ``config.method``. Raises ``ValueError`` as :func:`loss_settings` does."""
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
    """Collect the settings of each loss in ``config.method``, by the names of the loss's own parameters.

    Raises:
        ValueError: a method does not fit the task, or no loss has the parameter that a setting names.
    """
    given, kinds = _given(config), {name: LOSSES[name] for name in parse_method(config.method)}
    accepted = {name: set(accepted_settings(kind)) for name, kind in kinds.items()}
    temperatures: dict[TemperatureUnit, float] = {"similarity": config.temperature, "logit": config.kd_temperature}
    settings: dict[str, dict[str, Any]] = {}
    for name, kind in kinds.items():
        declared = declared_by(kind)
        if misfit := declared.misfit(task):
            raise ValueError(f"method {name!r} {misfit}.")
        settings[name] = {"blur": config.blur} if "blur" in accepted[name] else {}
        if declared.temperature_unit is not None:
            settings[name]["temperature"] = temperatures[declared.temperature_unit]
        settings[name] |= declared.settings_for(task)
    for word, value, flag in given:
        method, point, plain = word.rpartition(".")
        takers = [name for name in settings if plain in accepted[name] and (not point or name == method)]
        if not takers:
            known = ", ".join(sorted(set().union(*accepted.values()) - {*_SIZES, "gather"})) or "no settings"
            raise ValueError(f"{flag} means nothing to method {'+'.join(settings)!r}, which takes {known}.")
        for name in takers:
            settings[name][plain] = value
    return settings


def _given(config: DistillConfig) -> list[tuple[str, Any, str]]:
    """The settings that the user gave: ``parameter`` or ``loss.parameter``, its value, and its flag."""
    words = [word for word in ("topk", "select", "transport") if getattr(config, word) != "auto"]
    further = [(setting.partition("="), f"--set {setting}") for setting in config.settings]
    return [(word, getattr(config, word), f"--distill.{word}") for word in words] + [
        (word.strip(), _value(value.strip()), flag) for (word, _, value), flag in further
    ]


def balance_factor(factor: float | Literal["auto"], label_share: float) -> float:
    """Return the factor on a balanced weight: with few labels the student needs more of the teacher."""
    if factor != "auto":
        return factor
    return ALL_LABELS_FACTOR if label_share >= 0.5 else FEW_LABELS_FACTOR


def accepted_settings(kind: type[nn.Module]) -> dict[str, Any]:
    """Return the parameters of a loss with their defaults; a default that does not exist is ``Parameter.empty``."""
    return kind.accepted_settings() if issubclass(kind, DistillationLoss) else keywords_of(kind)


def _value(text: str) -> int | float | str | bool:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


@dataclass(frozen=True)
class _Context:
    """The arguments named in :data:`pkdot.losses.base.Context`, each computed when a loss asks for it."""

    known: Output
    batch: Batch
    task: Task
    rows: Mapping[str, int]
    pool: TeacherPool | None

    @property
    def target(self) -> Tensor:
        target = self.batch.target.to(self.known.prediction.device)
        return self.task.encode(target, self.known.prediction) if self.task.kind == "regression" else target

    @property
    def labelled(self) -> Tensor:
        return self.batch.labelled.to(self.known.prediction.device)

    @property
    def index(self) -> Tensor:
        return torch.tensor([self.rows[name] for name in self.batch.ids], device=self.known.embedding.device)

    @property
    def teacher_prediction(self) -> Tensor:
        return self.known.prediction

    @property
    def teachers(self) -> Tensor:
        return self._aligned.embeddings(self.known)

    @property
    def errors(self) -> Tensor:
        return self._aligned.errors(self.known, self.batch.target.to(self.labelled.device), self.labelled)

    @property
    def _aligned(self) -> TeacherPool:
        if self.pool is None:
            raise ValueError("this method chooses among several teachers, and none were aligned.")
        return self.pool


class Distillation(nn.Module):
    """Several losses between student and teacher. Each gets the further arguments that it needs.

    Args:
        criteria: the losses; their own parameters are trained with the student.
        shares: relative weight of each loss.
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

    @classmethod
    def of(
        cls,
        config: DistillConfig,
        task: Task,
        *,
        student_width: int,
        teacher_width: int,
        rows: Mapping[str, int],
        aligned: Callable[[], TeacherPool] | None,
    ) -> "Distillation":
        """Build everything that ``config.method`` adds to the task loss.

        Args:
            config: the settings.
            task: of the student.
            student_width: width of the student's embedding.
            teacher_width: width of the teacher's embedding.
            rows: position of each training sample, by its id.
            aligned: makes the aligned teachers; called only if a loss chooses among several. None without a teacher.

        Raises:
            ValueError: as :func:`loss_settings` does.
        """
        widths = {"student_width": student_width, "teacher_width": teacher_width}
        criteria = build_criteria(config, task, **widths, samples=len(rows))
        several = any(declared_by(criterion).several_teachers for criterion in criteria.values())
        pool = aligned() if aligned and several else None
        return cls(criteria, parse_method(config.method), task, rows=rows, pool=pool)

    def forward(self, output: Output, known: Output, batch: Batch) -> dict[str, Tensor]:
        """Compute each loss, by its name, from the student's ``output`` and the teacher's, ``known``."""
        context = _Context(known, batch, self._task, self._rows, self._pool)
        losses = {}
        for name, criterion in self.criteria.items():
            declared = declared_by(criterion)
            student, teacher = (getattr(each, declared.inputs).float() for each in (output, known))
            losses[name] = criterion(student, teacher, **{word: getattr(context, word) for word in declared.needs})
        return losses
