"""What every loss checks about its two inputs, and what it makes of ``topk``."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from pkdot.distributed import gather_with_gradient


def check_pair(student: Tensor, teacher: Tensor) -> None:
    """Raise ``ValueError`` unless both are finite ``(*, B, d)`` that differ in ``d`` at most."""
    if student.dim() < 2 or student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(
            f"student has shape {tuple(student.shape)}, teacher {tuple(teacher.shape)}; expected (*, B, d_student) and "
            "(*, B, d_teacher) with the same leading dimensions and the same B."
        )
    if torch.compiler.is_compiling():
        return  # a look at the values would break the graph
    for name, z in (("student", student), ("teacher", teacher)):
        if math.isfinite(float(z.detach().sum())):
            continue
        finite = z.detach().isfinite().all(-1)
        if not bool(finite.all()):
            bad = finite.numel() - int(finite.sum())
            raise ValueError(f"{name} has NaN or infinity in {bad} of {finite.numel()} rows; expected finite values.")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}.")


def check_positive(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``value`` is a finite number above 0."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value}; expected a finite number above 0.")


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
    return (student.to(torch.promote_types(student.dtype, torch.float32)) * 0.0).sum()


def gather_pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both batches as they are over all processes, see :func:`pkdot.distributed.gather_with_gradient`."""
    check_pair(student, teacher)
    gathered = (gather_with_gradient(z.movedim(-2, 0)).movedim(0, -2) for z in (student, teacher.detach()))
    return next(gathered), next(gathered)
