"""Losses on the logits of a classifier, sample by sample."""

from typing import ClassVar

from torch import Tensor, nn

from pkdot.losses._inputs import Inputs, TaskKind, check_outputs, check_positive, full_precision, no_loss
from pkdot.precision import half_range, in_range, power_of_two


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
    check_outputs(student, teacher, classes=2)
    return _divergence(student, teacher, temperature) if student.numel() else no_loss(student)


def logitstd_loss(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    r"""Knowledge distillation between standardised logits: only the shape of a prediction counts.

    .. math::
        \frac1B \sum_i \mathrm{KL}\big(\mathrm{softmax}(\hat z^T_i / T) \,\|\, \mathrm{softmax}(\hat z^S_i / T)\big),
        \qquad \hat z_i = (z_i - \bar z_i) / \sigma(z_i)

    with the mean and the standard deviation of each sample's own logits. Sun et al., CVPR 2024 (arXiv 2403.01427),
    T = 2 as there, and without the factor :math:`T^2`, as in torchdistill; the authors multiply by it. Use it where the
    student is too small to reach the size of the teacher's logits. Two classes leave nothing: every standardised pair
    of logits is the same up to its sign.

    Args:
        student: ``(*, B, C)`` logits, which get the gradient; C >= 3.
        teacher: ``(*, B, C)`` logits, detached.
        temperature: T, in standard deviations.

    Returns:
        A scalar, in float32 at least.

    Raises:
        ValueError: shapes differ, fewer than three classes, values are not finite, ``temperature`` is not positive.
    """
    check_positive("temperature", temperature)
    check_outputs(student, teacher, classes=3)
    return _standardised_divergence(student, teacher, temperature) if student.numel() else no_loss(student)


@full_precision
def _divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    log_s, log_t = (student / temperature).log_softmax(-1), (teacher / temperature).log_softmax(-1)
    return temperature**2 * (log_t.exp() * (log_t - log_s)).sum(-1).mean()


@full_precision
def _standardised_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return _divergence(_standardised(student), _standardised(teacher), temperature) / temperature**2


def _standardised(logits: Tensor) -> Tensor:
    size = half_range(logits, -1)
    logits = in_range(logits, size)
    deviation = logits - logits.mean(-1, keepdim=True)
    variance = deviation.square().sum(-1, keepdim=True) / (logits.shape[-1] - 1)
    # Of equal logits the root has no gradient, and no shape.
    alive = variance > 0
    return deviation / (variance.where(alive, 1.0).sqrt() + 1e-7 * power_of_two(size))


class KDLoss(nn.Module):
    """:func:`kd_loss` as a module."""

    inputs: ClassVar[Inputs] = "prediction"
    task: ClassVar[TaskKind] = "classes"

    def __init__(self, *, temperature: float = 4.0) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Two ``(*, B, C)`` to a scalar."""
        return kd_loss(student, teacher, temperature=self.temperature)


class LogitStdLoss(nn.Module):
    """:func:`logitstd_loss` as a module."""

    inputs: ClassVar[Inputs] = "prediction"
    task: ClassVar[TaskKind] = "classes"
    classes: ClassVar[int] = 3

    def __init__(self, *, temperature: float = 2.0) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Two ``(*, B, C)`` to a scalar."""
        return logitstd_loss(student, teacher, temperature=self.temperature)
