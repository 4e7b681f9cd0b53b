"""Decoupled knowledge distillation."""

import torch
from einops import rearrange
from torch import Tensor

from pkdot.checks import check_not_negative, check_positive
from pkdot.losses._inputs import check_outputs, full_precision, labelled_rows, no_loss
from pkdot.losses.base import DistillationLoss


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
    r"""Knowledge distillation in two parts: the target class against the rest, and the rest among themselves.

    .. math::
        \frac{T^2}{B} \sum_i \alpha \, \mathrm{KL}(b^T_i \,\|\, b^S_i) + \beta \, \mathrm{KL}(r^T_i \,\|\, r^S_i)

    with :math:`b = (p_y, 1 - p_y)` and :math:`r` the softened probabilities of the other classes, scaled to sum to 1.
    Zhao et al., CVPR 2022 (arXiv 2203.08679), with the defaults of its authors for CIFAR-100. They also raise the
    weight during the first 20 epochs; here this is up to the caller. Use it with many classes, where a confident
    teacher says little about the others in plain distillation. With two classes it equals
    :func:`pkdot.losses.kd_loss`, so it raises ``ValueError``.

    Args:
        student: ``(B, C)`` logits, which get the gradient; C >= 3.
        teacher: ``(B, C)`` logits, detached.
        target: ``(B,)`` int64 classes; unlabelled rows are ignored.
        labelled: ``(B,)`` bool, the samples that count; None means all.
        alpha: weight of the target class against the rest.
        beta: weight of the rest.
        temperature: T, in units of the logits.

    Returns:
        A scalar, in float32 at least; 0 if no sample is labelled.

    Raises:
        ValueError: shapes do not fit, there are fewer than three classes, a target is not a class, values are not
            finite, or a setting is out of range.

    >>> teacher, target = torch.tensor([[4.0, 2.0, 0.0], [0.0, 4.0, 2.0]]), torch.tensor([0, 1])
    >>> float(dkd_loss(teacher, teacher, target))
    0.0
    >>> round(float(dkd_loss(teacher.flip(-1), teacher, target)), 2)
    17.75
    """
    check_positive(temperature=temperature)
    check_not_negative(alpha=alpha, beta=beta)
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
        rest = rearrange(log_p[~of_target], "(b c) -> b c", b=len(log_p))
        total = rest.logsumexp(-1, keepdim=True)
        parts.append((torch.cat([on_target, total], -1), rest - total))
    (binary_s, rest_s), (binary_t, rest_t) = parts
    target_part = (binary_t.exp() * (binary_t - binary_s)).sum(-1).mean()
    rest_part = (rest_t.exp() * (rest_t - rest_s)).sum(-1).mean()
    return temperature**2 * (alpha * target_part + beta * rest_part)


class DKDLoss(DistillationLoss):
    """:func:`dkd_loss` as a module.

    >>> logits = torch.eye(3)
    >>> DKDLoss(beta=2.0)(logits, logits, target=torch.arange(3))
    tensor(0.)
    """

    inputs = "prediction"
    task = "classes"
    needs = ("target", "labelled")
    fewest_classes = 3

    def __init__(self, *, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        check_not_negative(alpha=alpha, beta=beta)
        self.alpha, self.beta, self.temperature = alpha, beta, temperature

    def forward(self, student: Tensor, teacher: Tensor, *, target: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Compute the loss of two ``(B, C)`` and ``(B,)`` classes, a scalar."""
        return dkd_loss(
            student,
            teacher,
            target,
            labelled=labelled,
            alpha=self.alpha,
            beta=self.beta,
            temperature=self.temperature,
        )
