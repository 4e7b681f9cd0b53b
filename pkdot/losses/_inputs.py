"""What losses share: checks of their inputs, the precision in which they compute, and the meaning of ``topk``."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec

import torch
from einops import rearrange
from torch import Tensor

from pkdot.distributed import gather_with_gradient
from pkdot.precision import at_least_float32, check_rows, check_value

P = ParamSpec("P")


def full_precision(
    loss: Callable[Concatenate[Tensor, Tensor, P], Tensor],
) -> Callable[Concatenate[Tensor, Tensor, P], Tensor]:
    """Make a loss compute in float32 at least, also under autocast, with a detached teacher.

    The loss raises ``ValueError`` if its value overflows.

    >>> @full_precision
    ... def gap(student: Tensor, teacher: Tensor) -> Tensor:
    ...     return (student - teacher).abs().mean()
    >>> gap(torch.ones(2, 3, dtype=torch.float16), torch.zeros(2, 3)).dtype
    torch.float32
    """

    @functools.wraps(loss)
    def in_full_precision(student: Tensor, teacher: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = at_least_float32(student), at_least_float32(teacher.detach())
            return check_value(loss(student, teacher, *args, **kwargs), student=student, teacher=teacher)

    return in_full_precision


def check_pair(student: Tensor, teacher: Tensor) -> None:
    """Raise ``ValueError`` unless both are finite ``(*, B, d)`` that differ in ``d`` at most.

    >>> check_pair(torch.ones(4, 3), torch.ones(5, 3))
    Traceback (most recent call last):
    ValueError: student has shape (4, 3), teacher (5, 3); expected ...
    """
    if student.dim() < 2 or student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(
            f"student has shape {tuple(student.shape)}, teacher {tuple(teacher.shape)}; expected (*, B, d_student) and "
            "(*, B, d_teacher) with the same leading dimensions and the same B."
        )
    check_rows(student=student, teacher=teacher)


def check_outputs(student: Tensor, teacher: Tensor, *, classes: int = 1) -> None:
    """Raise ``ValueError`` unless both are finite and have the same shape ``(*, B, C)`` with C >= ``classes``.

    >>> check_outputs(torch.ones(4, 2), torch.ones(4, 2), classes=3)
    Traceback (most recent call last):
    ValueError: outputs have shapes (4, 2) and (4, 2); expected one (*, B, C), C >= 3.
    """
    check_pair(student, teacher)
    if student.shape != teacher.shape or student.shape[-1] < classes:
        raise ValueError(
            f"outputs have shapes {tuple(student.shape)} and {tuple(teacher.shape)}; expected one (*, B, C), "
            f"C >= {classes}."
        )


def check_width(student: Tensor, teacher: Tensor) -> None:
    """Raise ``ValueError`` unless both are finite and have the same shape ``(*, B, d)``.

    >>> check_width(torch.ones(4, 2), torch.ones(4, 2))
    """
    check_pair(student, teacher)
    if student.shape != teacher.shape:
        raise ValueError(
            f"student has width {student.shape[-1]}, teacher {teacher.shape[-1]}; expected the same. The module "
            "learns to translate: give it student_width and teacher_width."
        )


def labelled_rows(labelled: Tensor | None, target: Tensor, outputs: Tensor) -> Tensor:
    """Return a ``(B,)`` bool mask of the rows with labels: all of them for None.

    Raises ``ValueError`` if the lengths differ.

    >>> labelled_rows(None, torch.zeros(2), torch.zeros(2, 3))
    tensor([True, True])
    """
    if labelled is None:
        labelled = torch.ones(len(outputs), dtype=torch.bool, device=outputs.device)
    if outputs.dim() != 2 or len(target) != len(outputs) or labelled.shape != outputs.shape[:1]:
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)}, target {tuple(target.shape)}, labelled "
            f"{tuple(labelled.shape)}; expected (B, C), (B, ...) and (B,)."
        )
    return labelled


def check_topk(topk: int | float) -> None:
    """Raise ``ValueError`` unless ``topk`` is a whole number of at least 1, or a float in (0, 1].

    >>> check_topk(1.5)
    Traceback (most recent call last):
    ValueError: topk is 1.5; expected a whole number of at least 1, or a share of the batch in (0, 1].
    """
    share = isinstance(topk, float) and 0.0 < topk <= 1.0
    count = isinstance(topk, int) and not isinstance(topk, bool) and topk >= 1
    if not (share or count):
        raise ValueError(f"topk is {topk!r}; expected a whole number of at least 1, or a share of the batch in (0, 1].")


def anchor_count(topk: int | float, batch: int) -> int:
    """Return the number of anchors per sample in a batch, between 1 and B - 1.

    >>> anchor_count(8, 32), anchor_count(0.5, 32), anchor_count(1.0, 32)
    (8, 16, 31)
    """
    check_topk(topk)
    k = round(topk * batch) if isinstance(topk, float) else topk
    return max(1, min(k, batch - 1))


def no_loss(student: Tensor) -> Tensor:
    """Return zero with a zero gradient, in float32 at least.

    >>> no_loss(torch.ones(2, 3))
    tensor(0.)
    """
    return at_least_float32(student).flatten()[:0].sum()


def gather_pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return the batches of all processes, see :func:`pkdot.distributed.gather_with_gradient`.

    >>> student, teacher = gather_pair(torch.ones(4, 3), torch.ones(4, 5))  # one process: nothing to gather
    >>> student.shape, teacher.shape
    (torch.Size([4, 3]), torch.Size([4, 5]))
    """
    check_pair(student, teacher)
    student, teacher = (
        rearrange(gather_with_gradient(rearrange(z, "... b d -> b ... d")), "b ... d -> ... b d")
        for z in (student, teacher.detach())
    )
    return student, teacher


def distances(z: Tensor) -> Tensor:
    """Euclidean distances ``(*, B, B)`` between rows of ``(*, B, d)``; equal rows have distance 0 and no gradient.

    >>> distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[0., 5.],
            [5., 0.]])
    """
    # The expansion into inner products is faster, but loses small distances to rounding.
    return torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")
