"""What every loss checks about its inputs, how exactly it computes, and what it makes of ``topk``."""

import functools
from collections.abc import Callable, Iterable
from typing import Concatenate, Literal, ParamSpec

import torch
from torch import Tensor

from pkdot.distributed import gather_with_gradient
from pkdot.precision import at_least_float32, check_rows, check_value

Inputs = Literal["embedding", "prediction"]
"""Which of a model's outputs a loss compares."""

TaskKind = Literal["classes", "regression"]
"""What the predictions have to be: logits of classes, or regression outputs."""

P = ParamSpec("P")


def full_precision(
    loss: Callable[Concatenate[Tensor, Tensor, P], Tensor],
) -> Callable[Concatenate[Tensor, Tensor, P], Tensor]:
    """Let a loss of student and teacher compute in float32 at least, also under autocast, from a detached teacher.

    A value that overflows all the same raises ``ValueError``.
    """

    @functools.wraps(loss)
    def in_full_precision(student: Tensor, teacher: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = at_least_float32(student), at_least_float32(teacher.detach())
            return check_value(loss(student, teacher, *args, **kwargs), student=student, teacher=teacher)

    return in_full_precision


def check_pair(student: Tensor, teacher: Tensor) -> None:
    """Raise ``ValueError`` unless both are finite ``(*, B, d)`` that differ in ``d`` at most."""
    if student.dim() < 2 or student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(
            f"student has shape {tuple(student.shape)}, teacher {tuple(teacher.shape)}; expected (*, B, d_student) and "
            "(*, B, d_teacher) with the same leading dimensions and the same B."
        )
    check_rows(student=student, teacher=teacher)


def check_outputs(student: Tensor, teacher: Tensor, *, classes: int = 1) -> None:
    """Raise ``ValueError`` unless both are finite and of one shape ``(*, B, C)`` with at least so many columns."""
    check_pair(student, teacher)
    if student.shape != teacher.shape or student.shape[-1] < classes:
        raise ValueError(
            f"outputs have shapes {tuple(student.shape)} and {tuple(teacher.shape)}; expected one (*, B, C), "
            f"C >= {classes}."
        )


def check_width(student: Tensor, teacher: Tensor) -> None:
    """Raise ``ValueError`` unless both are finite and of one shape ``(*, B, d)``."""
    check_pair(student, teacher)
    if student.shape != teacher.shape:
        raise ValueError(
            f"student has width {student.shape[-1]}, teacher {teacher.shape[-1]}; expected the same. The module "
            "learns to translate: give it student_width and teacher_width."
        )


def labelled_rows(labelled: Tensor | None, target: Tensor, outputs: Tensor) -> Tensor:
    """``(B,)`` bool: the rows that have labels, all of them for None. Raises ``ValueError`` if lengths differ."""
    if labelled is None:
        labelled = torch.ones(len(outputs), dtype=torch.bool, device=outputs.device)
    if outputs.dim() != 2 or len(target) != len(outputs) or labelled.shape != outputs.shape[:1]:
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)}, target {tuple(target.shape)}, labelled "
            f"{tuple(labelled.shape)}; expected (B, C), (B, ...) and (B,)."
        )
    return labelled


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}.")


def check_positive(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``value`` is a finite number above 0."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value}; expected a finite number above 0.")


def check_weights(**weights: float) -> None:
    """Raise ``ValueError`` unless all are finite numbers, none of them negative."""
    for name, value in weights.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} is {value}; expected a finite number of at least 0.")


def check_topk(topk: int | float) -> None:
    """Raise ``ValueError`` unless ``topk`` is a whole number of at least 1, or a float in (0, 1]."""
    share = isinstance(topk, float) and 0.0 < topk <= 1.0
    count = isinstance(topk, int) and not isinstance(topk, bool) and topk >= 1
    if not (share or count):
        raise ValueError(f"topk is {topk!r}; expected a whole number of at least 1, or a share of the batch in (0, 1].")


def anchor_count(topk: int | float, batch: int) -> int:
    """Anchors per sample in a batch: ``topk`` itself, or that share of the batch; 1 to B - 1."""
    check_topk(topk)
    k = round(topk * batch) if isinstance(topk, float) else topk
    return max(1, min(k, batch - 1))


def no_loss(student: Tensor) -> Tensor:
    """Zero, with a zero gradient, in float32 at least."""
    return at_least_float32(student).flatten()[:0].sum()


def gather_pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both batches as they are over all processes, see :func:`pkdot.distributed.gather_with_gradient`."""
    check_pair(student, teacher)
    gathered = (gather_with_gradient(z.movedim(-2, 0)).movedim(0, -2) for z in (student, teacher.detach()))
    return next(gathered), next(gathered)
