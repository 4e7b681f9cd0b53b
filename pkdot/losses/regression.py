"""Losses on regression outputs."""

import torch
from torch import Tensor
from torch.nn import functional

from pkdot.checks import check_not_negative
from pkdot.losses._inputs import check_outputs, full_precision, labelled_rows, no_loss
from pkdot.losses.base import DistillationLoss, GlobalBatchLoss
from pkdot.precision import check_rows, check_value
from pkdot.tasks import batch_concordance


def mse_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Mean squared difference between the outputs.

    .. math:: \frac{1}{BC} \sum_{ic} (z^S_{ic} - z^T_{ic})^2

    Plain imitation of regression outputs, and of logits (Ba and Caruana, NeurIPS 2014, arXiv 1312.6184); for logits it
    is the limit of :func:`pkdot.losses.kd_loss` at a high temperature. Use it if the teacher is right almost
    everywhere; :func:`bounded_loss` and :func:`imitation_loss` trust the teacher less.

    Args:
        student: ``(*, B, C)``, which gets the gradient.
        teacher: ``(*, B, C)``, detached.

    Returns:
        A scalar in squared units of the outputs, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes differ or values are not finite.

    >>> mse_loss(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]]))
    tensor(2.)
    """
    check_outputs(student, teacher)
    return _mse(student, teacher) if student.numel() else no_loss(student)


def ccc_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""One minus the concordance correlation of each output with the teacher's, over the batch.

    .. math::
        1 - \frac1R \sum_r \frac{2 \operatorname{cov}_r}{\sigma_S^2 + \sigma_T^2 + (\mu_S - \mu_T)^2}

    with population moments. This is the metric for valence and arousal (Lin, Biometrics 1989), applied to the teacher's
    outputs instead of the labels. Use it for regression, together with a concordance task loss. Outputs on which the
    teacher is constant over the batch are left out, and a single sample has loss 0.

    Args:
        student: ``(*, B, R)``, which gets the gradient.
        teacher: ``(*, B, R)``, detached.

    Returns:
        A scalar in [0, 2], in float32 at least; 0 if the teacher is constant.

    Raises:
        ValueError: shapes differ or values are not finite.

    >>> teacher = torch.tensor([[1.0], [2.0], [3.0]])
    >>> float(ccc_loss(teacher, teacher)), round(float(ccc_loss(teacher + 1, teacher)), 3)
    (0.0, 0.429)
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
    r"""Regression on the labels, with an extra term for samples where the student is worse than the teacher.

    .. math::
        \frac{1}{BR} \sum_{ir} \mathrm{huber}(y^S_{ir} - y_{ir})
        + \frac{\nu}{B} \sum_i \|y^S_i - y_i\|^2 \;
        \big[\|y^S_i - y_i\|^2 + m > \|y^T_i - y_i\|^2\big]

    Chen et al., NeurIPS 2017, with :math:`\nu = 0.5` as there. The teacher only sets a bound: the student does not
    imitate its wrong predictions. Use it if the teacher errs on some samples. It learns nothing from unlabelled
    samples.

    Args:
        student: ``(B, R)`` outputs, which get the gradient.
        teacher: ``(B, R)`` outputs, detached.
        target: ``(B, R)``, in the units of the outputs; unlabelled rows are ignored.
        labelled: ``(B,)`` bool, the samples that count; None means all.
        weight: :math:`\nu`.
        margin: m, in squared units of the outputs.

    Returns:
        A scalar, in float32 at least; 0 if no sample is labelled.

    Raises:
        ValueError: shapes do not fit, values are not finite, or a setting is out of range.

    >>> target, bad_teacher = torch.tensor([[0.0], [0.0]]), torch.tensor([[9.0], [0.0]])
    >>> bounded_loss(torch.tensor([[1.0], [1.0]]), bad_teacher, target)  # Huber 0.5, and 0.5 * 1 for the second
    tensor(0.7500)
    """
    check_not_negative(weight=weight, margin=margin)
    student, teacher, target = _labelled(student, teacher, target, labelled)
    return _bounded(student, teacher, target, weight, margin) if len(student) else no_loss(student)


def imitation_loss(
    student: Tensor, teacher: Tensor, target: Tensor, *, labelled: Tensor | None = None, clamp: bool = False
) -> Tensor:
    r"""Imitation of the teacher's outputs; the larger the teacher's error on a sample, the smaller its weight.

    .. math::
        \frac1B \sum_i \Phi_i \, \|y^S_i - y^T_i\|^2, \qquad
        \Phi_i = 1 - \frac{e_i}{\max e - \min e}, \quad e_i = \|y^T_i - y_i\|^2

    Saputra et al., ICCV 2019 (arXiv 1908.00858). They take the range of the errors over the training set; here it is
    the range over the batch. The weight of the sample with the largest error is 0 or below: then the student moves away
    from the teacher. ``clamp`` makes it 0. Unlabelled samples get the mean weight of the labelled ones. Use it if the
    teacher is good on most samples and wrong on a few.

    Args:
        student: ``(B, R)`` outputs, which get the gradient.
        teacher: ``(B, R)`` outputs, detached.
        target: ``(B, R)``, in the units of the outputs; unlabelled rows are ignored.
        labelled: ``(B,)`` bool, the samples whose target is known; None means all.
        clamp: replace negative weights by 0; the paper does not.

    Returns:
        A scalar in squared units of the outputs, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit or values are not finite.

    >>> target, teacher = torch.tensor([[0.0], [0.0]]), torch.tensor([[0.0], [2.0]])
    >>> imitation_loss(torch.tensor([[1.0], [1.0]]), teacher, target)  # weights 1 and 0
    tensor(0.5000)
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
    # An error that overflows would make the gradient NaN, even in a term that is not used.
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


class MSELoss(DistillationLoss):
    """:func:`mse_loss` as a module.

    >>> MSELoss()(torch.zeros(2, 1), torch.ones(2, 1))
    tensor(1.)
    """

    inputs = "prediction"

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of two ``(*, B, C)``, a scalar."""
        return mse_loss(student, teacher)


class CCCLoss(GlobalBatchLoss):
    """:func:`ccc_loss` over the global batch.

    >>> CCCLoss()(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [2.0]]))
    tensor(0.)
    """

    inputs = "prediction"
    task = "regression"

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of two ``(*, B, C)``, a scalar."""
        return ccc_loss(student, teacher)


class BoundedLoss(DistillationLoss):
    """:func:`bounded_loss` as a module.

    >>> BoundedLoss()(torch.ones(2, 1), torch.ones(2, 1), target=torch.ones(2, 1))
    tensor(0.)
    """

    inputs = "prediction"
    task = "regression"
    needs = ("target", "labelled")

    def __init__(self, *, weight: float = 0.5, margin: float = 0.0) -> None:
        super().__init__()
        check_not_negative(weight=weight, margin=margin)
        self.weight, self.margin = weight, margin

    def forward(self, student: Tensor, teacher: Tensor, *, target: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Compute the loss of three ``(B, R)``, a scalar."""
        return bounded_loss(student, teacher, target, labelled=labelled, weight=self.weight, margin=self.margin)


class ImitationLoss(DistillationLoss):
    """:func:`imitation_loss` as a module.

    >>> ImitationLoss(clamp=True)(torch.ones(2, 1), torch.ones(2, 1), target=torch.zeros(2, 1))
    tensor(0.)
    """

    inputs = "prediction"
    task = "regression"
    needs = ("target", "labelled")

    def __init__(self, *, clamp: bool = False) -> None:
        super().__init__()
        self.clamp = clamp

    def forward(self, student: Tensor, teacher: Tensor, *, target: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Compute the loss of three ``(B, R)``, a scalar."""
        return imitation_loss(student, teacher, target, labelled=labelled, clamp=self.clamp)
