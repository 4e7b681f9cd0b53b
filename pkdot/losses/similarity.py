"""Losses between all pairwise similarities in a batch; the widths may differ."""

import math
from typing import Any, Literal, get_args

import torch
from einops import rearrange
from torch import Tensor

from pkdot.checks import check_choice, check_count, check_positive
from pkdot.distributed import gather_with_gradient
from pkdot.losses._inputs import check_outputs, check_pair, full_precision, gather_pair, labelled_rows, no_loss
from pkdot.losses.base import DistillationLoss, GlobalBatchLoss
from pkdot.precision import in_range, smallest_size
from pkdot.structure import unit_rows
from pkdot.tasks import Task

Per = Literal["column", "row"]
Uncertainty = Literal["entropy", "error"]


def sp_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Similarity-preserving distillation: squared difference of inner products, each row scaled to length 1.

    .. math::
        \frac{1}{B^2} \Big\| \frac{SS^\top}{\|\cdot\|_{2, \text{row}}}
        - \frac{TT^\top}{\|\cdot\|_{2, \text{row}}} \Big\|_F^2

    Tung and Mori, ICCV 2019 (arXiv 1907.09682). The usual weight is 3000, because the mean over B^2 entries is small.
    Use it if the widths differ and the pairs are known, also for regression. Long embeddings count more than short
    ones; :func:`pkdot.losses.structure.structure_mse_loss` compares directions only.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.

    Returns:
        A scalar, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit or values are not finite.

    >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> float(sp_loss(3 * teacher, teacher)), float(sp_loss(torch.ones(2, 1), teacher)) > 0
    (0.0, True)
    """
    check_pair(student, teacher)
    return _row_differences(student, teacher).mean() if student.numel() else no_loss(student)


def mad_loss(student: Tensor, teacher: Tensor, uncertainty: Tensor, *, per: Per = "column") -> Tensor:
    r"""Margin-aware distillation: :func:`sp_loss` with larger weights for samples on which the teacher is uncertain.

    .. math:: \sum_{ij} w_j \, (\hat S_{ij} - \hat T_{ij})^2, \qquad w_j = \frac{h_j}{\sum_l h_l}

    with the rows of :func:`sp_loss` and the uncertainty h of each sample. MMANet, CVPR 2023 (arXiv 2304.08028), a
    method for missing modalities: samples near the class boundaries tell most about the boundaries. There the weights
    belong to the columns, and h is the entropy of the teacher's prediction (:func:`prediction_entropy`); ``per="row"``
    weights the rows instead. For regression use the teacher's error. The loss is a sum over rows, B times larger than a
    mean.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.
        uncertainty: ``(*, B)``, not negative. If all are 0, all samples have the same weight.
        per: whether a sample weights its ``column`` or its ``row``.

    Returns:
        A scalar, in float32 at least, the mean over leading dimensions; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit, values are not finite, an uncertainty is negative, or ``per`` is unknown.

    >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> mad_loss(teacher, teacher, torch.tensor([0.2, 0.8]))
    tensor(0.)
    """
    check_choice("per", per, get_args(Per))
    check_pair(student, teacher)
    if uncertainty.shape != student.shape[:-1] or not bool((uncertainty >= 0).all() & uncertainty.isfinite().all()):
        raise ValueError(
            f"uncertainty has shape {tuple(uncertainty.shape)}; expected finite {tuple(student.shape[:-1])}, none "
            "negative."
        )
    if not student.numel():
        return no_loss(student)
    differences = _row_differences(student, teacher)
    uncertainty = in_range(uncertainty, uncertainty.amax(-1, keepdim=True))
    total = uncertainty.sum(-1, keepdim=True)
    weight = torch.where(total > 0, uncertainty / total.where(total > 0, 1.0), 1.0 / student.shape[-2])
    pattern = "... b -> ... 1 b" if per == "column" else "... b -> ... b 1"
    weight = rearrange(weight.detach().to(differences.dtype), pattern)
    return (weight * differences).sum((-2, -1)).mean()


def prediction_entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax of ``(*, B, C)`` logits, in nats: ``(*, B)``.

    >>> prediction_entropy(torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
    tensor([0.6931, 0.3653])
    """
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(-1)


def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Probabilistic knowledge transfer: KL divergence between the distributions of each sample over the batch.

    .. math::
        \frac{1}{B^2} \sum_{ij} p^T_{ij} \log \frac{p^T_{ij} + \epsilon}{p^S_{ij} + \epsilon}, \qquad
        p_{ij} = \frac{1 + \cos(z_i, z_j)}{\sum_l 1 + \cos(z_i, z_l)}, \quad \epsilon = 10^{-7}

    Passalis and Tefas, ECCV 2018 (arXiv 1803.10837). The usual weight is 30000, because the mean over B^2 entries is
    small. Use it if the widths differ. Its distributions are almost uniform;
    :func:`pkdot.losses.structure.structure_kl_loss` sharpens them by a temperature. A zero row has cosine 0 to all
    others and gets no gradient.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.

    Returns:
        A scalar, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit or values are not finite.

    >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> float(pkt_loss(3 * teacher, teacher)), float(pkt_loss(torch.ones(2, 1), teacher)) > 0
    (0.0, True)
    """
    check_pair(student, teacher)
    return _conditional_divergence(student, teacher) if student.numel() else no_loss(student)


def cc_loss(student: Tensor, teacher: Tensor, *, gamma: float = 0.4, order: int = 2) -> Tensor:
    r"""Correlation congruence: squared difference between the kernel matrices of student and teacher.

    .. math::
        \frac{1}{B^2} \|K^S - K^T\|_F^2, \qquad
        K_{ij} = e^{-2 \gamma} \sum_{p=0}^P \frac{(2 \gamma)^p}{p!} \cos(z_i, z_j)^p

    the Taylor series of a Gaussian kernel between unit vectors. Peng et al., ICCV 2019 (arXiv 1904.01802), with the
    order and :math:`\gamma` of the paper. RepDistiller has another loss under this name, between neighbours in the
    batch. Use it like :func:`sp_loss`; it compares directions only.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.
        gamma: :math:`\gamma` of the kernel, positive.
        order: P, the order of the series, at least 1.

    Returns:
        A scalar, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit, values are not finite, or a setting is out of range.

    >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> float(cc_loss(3 * teacher, teacher)), float(cc_loss(torch.ones(2, 1), teacher)) > 0
    (0.0, True)
    """
    _check_series(gamma, order)
    check_pair(student, teacher)
    return _kernel_difference(student, teacher, gamma, order) if student.numel() else no_loss(student)


@full_precision
def _row_differences(student: Tensor, teacher: Tensor) -> Tensor:
    return (_similarity_rows(student) - _similarity_rows(teacher)).square()


def _similarity_rows(z: Tensor) -> Tensor:
    # The result does not depend on the scale of the batch. Removing it first keeps fourth powers in range.
    size = z.detach().abs().amax((-2, -1), keepdim=True)
    z = in_range(z, size)
    products = z @ z.mT
    # The gradient of a row grows as the row gets shorter: rows that are too short count as zero.
    left = products.detach().abs().amax(-1, keepdim=True) * size.clamp(max=1.0)
    return unit_rows(products.where(left > smallest_size(z.dtype), 0.0))


@full_precision
def _conditional_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    smallest = 1e-7
    p_s, p_t = (_conditionals(z) for z in (student, teacher))
    return (p_t * ((p_t + smallest) / (p_s + smallest)).log()).mean()


def _conditionals(z: Tensor) -> Tensor:
    unit = unit_rows(z)
    kernel = (1 + unit @ unit.mT) / 2
    return kernel / kernel.sum(-1, keepdim=True)


@full_precision
def _kernel_difference(student: Tensor, teacher: Tensor, gamma: float, order: int) -> Tensor:
    kernels = []
    for unit in (unit_rows(student), unit_rows(teacher)):
        similarity = unit @ unit.mT
        terms = ((2 * gamma) ** p / math.factorial(p) * similarity**p for p in range(order + 1))
        kernels.append(math.exp(-2 * gamma) * torch.stack(list(terms)).sum(0))
    return (kernels[0] - kernels[1]).square().mean()


def _check_series(gamma: float, order: int) -> None:
    check_positive(gamma=gamma)
    check_count(order=order)


class SPLoss(GlobalBatchLoss):
    """:func:`sp_loss` over the global batch.

    >>> SPLoss()(torch.eye(3), torch.eye(3))
    tensor(0.)
    """

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        return sp_loss(student, teacher)


class PKTLoss(GlobalBatchLoss):
    """:func:`pkt_loss` over the global batch.

    >>> PKTLoss()(torch.eye(3), torch.eye(3))
    tensor(0.)
    """

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        return pkt_loss(student, teacher)


class CCLoss(GlobalBatchLoss):
    """:func:`cc_loss` over the global batch.

    >>> CCLoss(order=3)(torch.eye(3), torch.eye(3))
    tensor(0.)
    """

    def __init__(self, *, gamma: float = 0.4, order: int = 2, gather: bool = True) -> None:
        super().__init__(gather=gather)
        _check_series(gamma, order)
        self.gamma, self.order = gamma, order

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        return cc_loss(student, teacher, gamma=self.gamma, order=self.order)


class MADLoss(DistillationLoss):
    """:func:`mad_loss` over the global batch, with the uncertainty of the teacher's predictions.

    Args:
        uncertainty: ``entropy`` of class logits, or ``error``: the distance of regression outputs from the target.
            Unlabelled samples then get the mean error of the labelled ones.
        per: as in the function.
        gather: use the samples of all processes.

    >>> MADLoss()(torch.eye(3), torch.eye(3), teacher_prediction=torch.eye(3))
    tensor(0.)
    """

    needs = ("teacher_prediction", "target", "labelled")

    @classmethod
    def settings_for(cls, task: Task) -> dict[str, Any]:
        """Measure the uncertainty of a regression by the teacher's error: its outputs have no entropy."""
        return {"uncertainty": "error"} if task.kind == "regression" else {}

    def __init__(self, *, uncertainty: Uncertainty = "entropy", per: Per = "column", gather: bool = True) -> None:
        super().__init__()
        check_choice("uncertainty", uncertainty, get_args(Uncertainty))
        check_choice("per", per, get_args(Per))
        self.uncertainty, self.per, self.gather = uncertainty, per, gather

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        teacher_prediction: Tensor,
        target: Tensor | None = None,
        labelled: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss of ``(B, ds)``, ``(B, dt)`` and the teacher's ``(B, C)`` outputs, a scalar."""
        prediction = teacher_prediction.detach().float()
        check_outputs(prediction, prediction)
        if self.uncertainty == "entropy":
            weight = prediction_entropy(prediction)
        else:
            weight = _errors(prediction, target, labelled)
        if self.gather:
            student, teacher = gather_pair(student, teacher)
            weight = gather_with_gradient(weight)
        return mad_loss(student, teacher, weight, per=self.per)


def _errors(prediction: Tensor, target: Tensor | None, labelled: Tensor | None) -> Tensor:
    if target is None:
        raise ValueError("target is None; expected the targets, because uncertainty is 'error'.")
    rows = labelled_rows(labelled, target, prediction)
    error = torch.ones_like(prediction[:, 0])
    known = (prediction[rows] - target[rows].to(prediction)).norm(dim=-1)
    if known.numel():
        error *= known.mean()
        error[rows] = known
    return error
