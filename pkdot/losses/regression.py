"""Losses on regression outputs."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdot.losses._global import GlobalBatchLoss
from pkdot.losses._inputs import (
    Inputs,
    TaskKind,
    check_outputs,
    check_weights,
    full_precision,
    labelled_rows,
    no_loss,
)
from pkdot.precision import check_rows, check_value
from pkdot.tasks import batch_concordance


def mse_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Mean squared difference between the outputs.

    .. math:: \frac{1}{BC} \sum_{ic} (z^S_{ic} - z^T_{ic})^2

    The plain imitation of regression outputs, and of logits (Ba and Caruana, NeurIPS 2014, arXiv 1312.6184): what
    distillation by softened predictions becomes at a high temperature. Use it where the teacher is right nearly
    everywhere; :func:`bounded_loss` and :func:`imitation_loss` trust it less.

    Args:
        student: ``(*, B, C)``, which gets the gradient.
        teacher: ``(*, B, C)``, detached.

    Returns:
        A scalar in squared units of the outputs, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes differ or values are not finite.
    """
    check_outputs(student, teacher)
    return _mse(student, teacher) if student.numel() else no_loss(student)


def ccc_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""One minus the concordance of each output with the teacher's, over the batch.

    .. math::
        1 - \frac1R \sum_r \frac{2 \operatorname{cov}_r}{\sigma_S^2 + \sigma_T^2 + (\mu_S - \mu_T)^2}

    with population moments. The measure by which valence and arousal are judged (Lin, Biometrics 1989), asked of the
    teacher's outputs instead of the labels. Use it for regression beside a concordance task loss. It needs batches
    that vary: an output on which the teacher does not vary is left out, and so is a single sample.

    Args:
        student: ``(*, B, R)``, which gets the gradient.
        teacher: ``(*, B, R)``, detached.

    Returns:
        A scalar in [0, 2], in float32 at least; 0 where nothing varies.

    Raises:
        ValueError: shapes differ or values are not finite.
    """
    check_outputs(student, teacher)
    return _concordance(student, teacher) if student.shape[-2] > 1 else no_loss(student)


def bounded_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    *,
    labelled: Tensor | None = None,
    weight: float = 0.5,
    margin: float = 0.0,
) -> Tensor:
    r"""Regression on the labels, and harder on them where the student is worse than the teacher.

    .. math::
        \frac{1}{BR} \sum_{ir} \mathrm{huber}(y^S_{ir} - y_{ir})
        + \frac{\nu}{B} \sum_i \|y^S_i - y_i\|^2 \;
        \big[\|y^S_i - y_i\|^2 + m > \|y^T_i - y_i\|^2\big]

    Chen et al., NeurIPS 2017, with :math:`\nu = 0.5` as there. The teacher only sets a bound: what it says of a sample
    that it predicts badly is not imitated. Use it where the teacher errs on some samples; it takes nothing from
    unlabelled ones.

    Args:
        student: ``(B, R)`` outputs, which get the gradient.
        teacher: ``(B, R)`` outputs, detached.
        target: ``(B, R)``, in the units of the outputs; what stands in unlabelled rows does not matter.
        labelled: ``(B,)`` bool, the samples that count; None means all.
        weight: :math:`\nu`.
        margin: m, in squared units of the outputs.

    Returns:
        A scalar, in float32 at least; 0 where no sample is labelled.

    Raises:
        ValueError: shapes do not fit, values are not finite, a setting is out of range.
    """
    check_weights(weight=weight, margin=margin)
    student, teacher, target = _labelled(student, teacher, target, labelled)
    return _bounded(student, teacher, target, weight, margin) if len(student) else no_loss(student)


def imitation_loss(
    student: Tensor, teacher: Tensor, target: Tensor, *, labelled: Tensor | None = None, clamp: bool = False
) -> Tensor:
    r"""Imitation of the teacher's outputs, the less of a sample the more the teacher errs on it.

    .. math::
        \frac1B \sum_i \Phi_i \, \|y^S_i - y^T_i\|^2, \qquad
        \Phi_i = 1 - \frac{e_i}{\max e - \min e}, \quad e_i = \|y^T_i - y_i\|^2

    Saputra et al., ICCV 2019 (arXiv 1908.00858), who take the range of the errors over the training set; here it is
    that of the batch. The sample with the largest error has a weight a little below 0, which drives the student away
    from the teacher there; ``clamp`` makes it 0. A sample without a label tells no error: it gets the mean weight of
    those with one. Use it where the teacher is good on most samples and wrong on a few.

    Args:
        student: ``(B, R)`` outputs, which get the gradient.
        teacher: ``(B, R)`` outputs, detached.
        target: ``(B, R)``, in the units of the outputs; what stands in unlabelled rows does not matter.
        labelled: ``(B,)`` bool, the samples whose target is known; None means all.
        clamp: let no weight be negative. The paper's formula does not.

    Returns:
        A scalar in squared units of the outputs, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit or values are not finite.
    """
    rows = labelled_rows(labelled, target, student)
    _labelled(student, teacher, target, rows)
    return _imitation(student, teacher, target, rows, clamp) if len(student) else no_loss(student)


@full_precision
def _mse(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().mean()


@full_precision
def _concordance(student: Tensor, teacher: Tensor) -> Tensor:
    varies = (teacher != teacher[..., :1, :]).any(-2)
    return torch.where(varies, 1 - batch_concordance(student, teacher), 0.0).mean()


@full_precision
def _bounded(student: Tensor, teacher: Tensor, target: Tensor, weight: float, margin: float) -> Tensor:
    target = target.to(student.dtype)
    error_s, error_t = ((z - target).square().sum(-1) for z in (student, teacher))
    # One that overflows and is not asked for would still spoil the gradient.
    check_value(error_s, student=student, target=target)
    beyond = torch.where(error_s.detach() + margin > error_t, error_s, 0.0)
    return functional.smooth_l1_loss(student, target) + weight * beyond.mean()


@full_precision
def _imitation(student: Tensor, teacher: Tensor, target: Tensor, labelled: Tensor, clamp: bool) -> Tensor:
    difference = (student - teacher).square().sum(-1)
    if not bool(labelled.any()):
        return difference.mean()
    target = target[labelled].to(teacher.dtype)
    error = check_value((teacher[labelled] - target).square().sum(-1), teacher=teacher, target=target)
    spread = error.max() - error.min()
    known = 1 - error / spread if bool(spread > 0) else torch.ones_like(error)
    known = known.clamp(min=0.0) if clamp else known
    trust = known.mean().expand(len(student)).clone()
    trust[labelled] = known
    return (trust * difference).mean()


def _labelled(
    student: Tensor, teacher: Tensor, target: Tensor, labelled: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    check_outputs(student, teacher)
    rows = labelled_rows(labelled, target, student)
    if target.shape != student.shape:
        raise ValueError(f"target has shape {tuple(target.shape)}; expected {tuple(student.shape)}, as the outputs.")
    check_rows(target=target[rows])
    return student[rows], teacher[rows], target[rows]


class MSELoss(nn.Module):
    """:func:`mse_loss` as a module."""

    inputs: ClassVar[Inputs] = "prediction"

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Two ``(*, B, C)`` to a scalar."""
        return mse_loss(student, teacher)


class CCCLoss(GlobalBatchLoss):
    """:func:`ccc_loss` over the global batch."""

    inputs: ClassVar[Inputs] = "prediction"
    task: ClassVar[TaskKind] = "regression"

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Two ``(*, B, C)`` to a scalar."""
        return ccc_loss(student, teacher)


class BoundedLoss(nn.Module):
    """:func:`bounded_loss` as a module."""

    inputs: ClassVar[Inputs] = "prediction"
    task: ClassVar[TaskKind] = "regression"
    needs: ClassVar[tuple[str, ...]] = ("target", "labelled")

    def __init__(self, *, weight: float = 0.5, margin: float = 0.0) -> None:
        super().__init__()
        check_weights(weight=weight, margin=margin)
        self.weight, self.margin = weight, margin

    def forward(self, student: Tensor, teacher: Tensor, *, target: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Three ``(B, R)`` to a scalar."""
        return bounded_loss(student, teacher, target, labelled=labelled, weight=self.weight, margin=self.margin)


class ImitationLoss(nn.Module):
    """:func:`imitation_loss` as a module."""

    inputs: ClassVar[Inputs] = "prediction"
    task: ClassVar[TaskKind] = "regression"
    needs: ClassVar[tuple[str, ...]] = ("target", "labelled")

    def __init__(self, *, clamp: bool = False) -> None:
        super().__init__()
        self.clamp = clamp

    def forward(self, student: Tensor, teacher: Tensor, *, target: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Three ``(B, R)`` to a scalar."""
        return imitation_loss(student, teacher, target, labelled=labelled, clamp=self.clamp)
