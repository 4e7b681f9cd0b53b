"""Decoupled knowledge distillation."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pkdot.losses._inputs import (
    Inputs,
    TaskKind,
    check_outputs,
    check_positive,
    check_weights,
    full_precision,
    labelled_rows,
    no_loss,
)


def dkd_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    *,
    labelled: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    r"""Knowledge distillation, taken apart into the target class against the rest, and the rest among themselves.

    .. math::
        \frac{T^2}{B} \sum_i \alpha \, \mathrm{KL}(b^T_i \,\|\, b^S_i) + \beta \, \mathrm{KL}(r^T_i \,\|\, r^S_i)

    with :math:`b = (p_y, 1 - p_y)` and :math:`r` the softened probabilities of the other classes, scaled to sum to 1.
    Zhao et al., CVPR 2022 (arXiv 2203.08679), with the defaults of its authors for CIFAR-100; they also raise the
    weight over the first 20 epochs, which is left to the caller. Use it with many classes, where plain distillation
    mutes what a confident teacher knows of the others. With two classes there are no others, and it is plain
    distillation under another name: an error here.

    Args:
        student: ``(B, C)`` logits, which get the gradient; C >= 3.
        teacher: ``(B, C)`` logits, detached.
        target: ``(B,)`` int64 classes; what stands in unlabelled rows does not matter.
        labelled: ``(B,)`` bool, the samples that count; None means all.
        alpha: weight of the target class against the rest.
        beta: weight of the rest.
        temperature: T, in units of the logits.

    Returns:
        A scalar, in float32 at least; 0 where no sample is labelled.

    Raises:
        ValueError: shapes do not fit, fewer than three classes, a target that is no class, values are not finite, a
            setting is out of range.
    """
    check_positive("temperature", temperature)
    check_weights(alpha=alpha, beta=beta)
    check_outputs(student, teacher)
    if student.shape[-1] < 3:
        raise ValueError(
            f"dkd has {student.shape[-1]} classes; expected at least 3: with two it is kd under another name."
        )
    rows = labelled_rows(labelled, target, student)
    student, teacher, target = student[rows], teacher[rows], target[rows]
    if not len(student):
        return no_loss(student)
    if (
        target.is_floating_point()
        or target.dim() != 1
        or not 0 <= int(target.min()) <= int(target.max()) < student.shape[-1]
    ):
        raise ValueError(
            f"target has {target.dtype} {tuple(target.shape)}; expected (B,) classes 0 to {student.shape[-1] - 1}."
        )
    return _decoupled(student, teacher, target, alpha, beta, temperature)


@full_precision
def _decoupled(
    student: Tensor, teacher: Tensor, target: Tensor, alpha: float, beta: float, temperature: float
) -> Tensor:
    of_target = torch.nn.functional.one_hot(target, student.shape[-1]).bool()
    log_s, log_t = (student / temperature).log_softmax(-1), (teacher / temperature).log_softmax(-1)
    parts = []
    for log_p in (log_s, log_t):
        on_target = log_p[of_target].unsqueeze(-1)
        rest = log_p[~of_target].reshape(len(log_p), -1)
        total = rest.logsumexp(-1, keepdim=True)
        parts.append((torch.cat([on_target, total], -1), rest - total))
    (binary_s, rest_s), (binary_t, rest_t) = parts
    target_part = (binary_t.exp() * (binary_t - binary_s)).sum(-1).mean()
    rest_part = (rest_t.exp() * (rest_t - rest_s)).sum(-1).mean()
    return temperature**2 * (alpha * target_part + beta * rest_part)


class DKDLoss(nn.Module):
    """:func:`dkd_loss` as a module."""

    inputs: ClassVar[Inputs] = "prediction"
    task: ClassVar[TaskKind] = "classes"
    needs: ClassVar[tuple[str, ...]] = ("target", "labelled")
    classes: ClassVar[int] = 3

    def __init__(self, *, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_weights(alpha=alpha, beta=beta)
        self.alpha, self.beta, self.temperature = alpha, beta, temperature

    def forward(self, student: Tensor, teacher: Tensor, *, target: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Two ``(B, C)`` and ``(B,)`` classes to a scalar."""
        return dkd_loss(
            student,
            teacher,
            target,
            labelled=labelled,
            alpha=self.alpha,
            beta=self.beta,
            temperature=self.temperature,
        )
