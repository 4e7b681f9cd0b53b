"""Losses on the logits of a classifier, sample by sample."""

from torch import Tensor

from pkdot.checks import check_positive
from pkdot.losses._inputs import check_outputs, full_precision, no_loss
from pkdot.losses.base import DistillationLoss
from pkdot.precision import half_range, in_range, power_of_two


def kd_loss(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    r"""Knowledge distillation: KL divergence between softened predictions.

    .. math:: \frac{T^2}{B} \sum_i \mathrm{KL}\big(\mathrm{softmax}(z^T_i / T) \,\|\, \mathrm{softmax}(z^S_i / T)\big)

    Hinton et al., 2015 (arXiv 1503.02531). The factor :math:`T^2` keeps the size of the gradient as T changes. Use it
    for classes and levels; it is the first rival of any structure loss. Do not use it for regression outputs, which are
    not logits. The default T is the usual one for many classes; the commands of pkdot use 1.

    Args:
        student: ``(*, B, C)`` logits, which get the gradient.
        teacher: ``(*, B, C)`` logits, detached.
        temperature: T, in units of the logits.

    Returns:
        A scalar, in float32 at least.

    Raises:
        ValueError: shapes differ, there are fewer than two classes, values are not finite, or ``temperature`` is not
            positive.

    >>> import torch
    >>> teacher = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    >>> float(kd_loss(teacher + 3, teacher).abs()) < 1e-5
    True
    >>> round(float(kd_loss(torch.zeros(2, 3), teacher, temperature=1.0)), 3)
    0.349
    """
    check_positive(temperature=temperature)
    check_outputs(student, teacher, classes=2)
    return _divergence(student, teacher, temperature) if student.numel() else no_loss(student)


def logitstd_loss(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    r"""Knowledge distillation between standardised logits: scale and offset of the logits are ignored.

    .. math::
        \frac1B \sum_i \mathrm{KL}\big(\mathrm{softmax}(\hat z^T_i / T) \,\|\, \mathrm{softmax}(\hat z^S_i / T)\big),
        \qquad \hat z_i = (z_i - \bar z_i) / \sigma(z_i)

    with the mean and the standard deviation of each sample's own logits. Sun et al., CVPR 2024 (arXiv 2403.01427), with
    T = 2 as there, but without their factor :math:`T^2`, as in torchdistill. Use it if the student is too small to
    reach the size of the teacher's logits. With two classes nothing is left to learn: all standardised pairs of logits
    are the same up to the sign.

    Args:
        student: ``(*, B, C)`` logits, which get the gradient; C >= 3.
        teacher: ``(*, B, C)`` logits, detached.
        temperature: T, in standard deviations.

    Returns:
        A scalar, in float32 at least.

    Raises:
        ValueError: shapes differ, there are fewer than three classes, values are not finite, or ``temperature`` is not
            positive.

    >>> import torch
    >>> teacher = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    >>> float(logitstd_loss(5 * teacher + 3, teacher).abs()) < 1e-5
    True
    """
    check_positive(temperature=temperature)
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
    # The square root has no gradient at 0, where all logits are equal.
    alive = variance > 0
    return deviation / (variance.where(alive, 1.0).sqrt() + 1e-7 * power_of_two(size))


class KDLoss(DistillationLoss):
    """:func:`kd_loss` as a module.

    >>> import torch
    >>> KDLoss(temperature=1.0)(torch.eye(3), torch.eye(3))
    tensor(0.)
    """

    inputs = "prediction"
    task = "classes"
    temperature_unit = "logit"

    def __init__(self, *, temperature: float = 4.0) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of two ``(*, B, C)``, a scalar."""
        return kd_loss(student, teacher, temperature=self.temperature)


class LogitStdLoss(DistillationLoss):
    """:func:`logitstd_loss` as a module.

    >>> import torch
    >>> LogitStdLoss()(torch.eye(3), torch.eye(3))
    tensor(0.)
    """

    inputs = "prediction"
    task = "classes"
    fewest_classes = 3

    def __init__(self, *, temperature: float = 2.0) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of two ``(*, B, C)``, a scalar."""
        return logitstd_loss(student, teacher, temperature=self.temperature)
