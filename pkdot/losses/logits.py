"""Losses on the logits of a classifier."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from pkdot.losses._inputs import check_pair, check_positive


def kd_loss(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    r"""Knowledge distillation: KL divergence between softened predictions.

    .. math:: \frac{T^2}{B} \sum_i \mathrm{KL}\big(\mathrm{softmax}(z^T_i / T) \,\|\, \mathrm{softmax}(z^S_i / T)\big)

    Hinton et al., 2015 (arXiv 1503.02531). ``T^2`` keeps the gradient's size as T changes, so that it is already
    inside. Use it for classes and levels, the first rival of any structure loss; not for regression outputs, which
    are no logits. The default T is that of the classic recipes with many classes; the project's paired runs used 1.

    Args:
        student: ``(*, B, C)`` logits, which get the gradient.
        teacher: ``(*, B, C)`` logits, detached.
        temperature: T, in units of the logits.

    Returns:
        A scalar, in float32 at least.

    Raises:
        ValueError: shapes differ, fewer than two classes, values are not finite, ``temperature`` is not positive.
    """
    check_positive("temperature", temperature)
    check_pair(student, teacher)
    if student.shape != teacher.shape or student.shape[-1] < 2:
        raise ValueError(
            f"logits have shapes {tuple(student.shape)} and {tuple(teacher.shape)}; expected one (*, B, C), C >= 2."
        )
    with torch.autocast(student.device.type, enabled=False):
        log_s, log_t = (
            (z.to(torch.promote_types(z.dtype, torch.float32)) / temperature).log_softmax(-1)
            for z in (student, teacher.detach())
        )
        return temperature**2 * (log_t.exp() * (log_t - log_s)).sum(-1).mean()


class KDLoss(nn.Module):
    """:func:`kd_loss` as a module."""

    inputs: ClassVar[Literal["embedding", "prediction"]] = "prediction"

    def __init__(self, *, temperature: float = 4.0) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Two ``(*, B, C)`` to a scalar."""
        return kd_loss(student, teacher, temperature=self.temperature)
