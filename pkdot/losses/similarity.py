"""Losses between all similarities within a batch: relations that need no equal widths."""

import math
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from pkdot.distributed import gather_with_gradient
from pkdot.losses._global import GlobalBatchLoss
from pkdot.losses._inputs import (
    Inputs,
    check_choice,
    check_outputs,
    check_pair,
    check_positive,
    full_precision,
    gather_pair,
    labelled_rows,
    no_loss,
)
from pkdot.precision import in_range, smallest_size
from pkdot.structure import unit_rows

Per = Literal["column", "row"]
Uncertainty = Literal["entropy", "error"]


def sp_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Similarity-preserving distillation: equal rows of inner products, each row at length 1.

    .. math::
        \frac{1}{B^2} \Big\| \frac{SS^\top}{\|\cdot\|_{2, \text{row}}}
        - \frac{TT^\top}{\|\cdot\|_{2, \text{row}}} \Big\|_F^2

    Tung and Mori, ICCV 2019 (arXiv 1907.09682); the weight of its authors' successors is 3000, because the mean over
    B^2 entries is small. Use it where widths differ and the pairs are known, also for regression. Long embeddings
    count more than short ones; :func:`pkdot.losses.structure.structure_mse_loss` compares directions alone.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.

    Returns:
        A scalar, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit or values are not finite.
    """
    check_pair(student, teacher)
    return _row_differences(student, teacher).mean() if student.numel() else no_loss(student)


def mad_loss(student: Tensor, teacher: Tensor, uncertainty: Tensor, *, per: Per = "column") -> Tensor:
    r"""Margin-aware distillation: :func:`sp_loss` that counts the samples of which the teacher is unsure.

    .. math:: \sum_{ij} w_j \, (\hat S_{ij} - \hat T_{ij})^2, \qquad w_j = \frac{h_j}{\sum_l h_l}

    with the rows of :func:`sp_loss` and each sample's uncertainty h. MMANet, CVPR 2023 (arXiv 2304.08028), a method
    for missing modalities: samples near the class boundaries say the most about them. There the weights run along
    the columns and h is the entropy of the teacher's prediction (:func:`prediction_entropy`); ``per="row"`` weights
    a sample's own row instead. For regression take the teacher's error. It is a sum over rows: B times larger than a
    mean.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.
        uncertainty: ``(*, B)``, none negative; where all are 0 all samples count the same.
        per: what a weight belongs to.

    Returns:
        A scalar, in float32 at least, the mean over leading dimensions; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit, values are not finite, an uncertainty is negative, ``per`` is unknown.
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
    weight = weight.detach().to(differences.dtype).unsqueeze(-2 if per == "column" else -1)
    return (weight * differences).sum((-2, -1)).mean()


def prediction_entropy(logits: Tensor) -> Tensor:
    """``(*, B, C)`` logits to ``(*, B)`` entropies of their softmax, in nats."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(-1)


def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Probabilistic knowledge transfer: divergence between each sample's distributions over the batch.

    .. math::
        \frac{1}{B^2} \sum_{ij} p^T_{ij} \log \frac{p^T_{ij} + \epsilon}{p^S_{ij} + \epsilon}, \qquad
        p_{ij} = \frac{1 + \cos(z_i, z_j)}{\sum_l 1 + \cos(z_i, z_l)}, \quad \epsilon = 10^{-7}

    Passalis and Tefas, ECCV 2018 (arXiv 1803.10837); the usual weight is 30000, because the mean over B^2 entries is
    small. Use it where widths differ. Its kernel is nearly flat: :func:`pkdot.losses.structure.structure_kl_loss`
    has a temperature. A zero row is similar to nothing and gets no gradient.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.

    Returns:
        A scalar, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit or values are not finite.
    """
    check_pair(student, teacher)
    return _conditional_divergence(student, teacher) if student.numel() else no_loss(student)


def cc_loss(student: Tensor, teacher: Tensor, *, gamma: float = 0.4, order: int = 2) -> Tensor:
    r"""Correlation congruence: equal kernel matrices of the batch.

    .. math::
        \frac{1}{B^2} \|K^S - K^T\|_F^2, \qquad
        K_{ij} = e^{-2 \gamma} \sum_{p=0}^P \frac{(2 \gamma)^p}{p!} \cos(z_i, z_j)^p

    the Taylor series of a Gaussian kernel between unit vectors. Peng et al., ICCV 2019 (arXiv 1904.01802), with the
    order and :math:`\gamma` of the paper. What a well-known collection ships under this name is another loss, between
    neighbours in the batch. Use it like :func:`sp_loss`, on directions.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.
        gamma: of the kernel, positive.
        order: P, at least 1.

    Returns:
        A scalar, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit, values are not finite, a setting is out of range.
    """
    _check_series(gamma, order)
    check_pair(student, teacher)
    return _kernel_difference(student, teacher, gamma, order) if student.numel() else no_loss(student)


@full_precision
def _row_differences(student: Tensor, teacher: Tensor) -> Tensor:
    return (_similarity_rows(student) - _similarity_rows(teacher)).square()


def _similarity_rows(z: Tensor) -> Tensor:
    # The scale of a batch falls out of its rows; taking it out first keeps squares of squares in range.
    size = z.detach().abs().amax((-2, -1), keepdim=True)
    z = in_range(z, size)
    products = z @ z.mT
    # What is left of a row, times the scale, is the size that its gradient is inverse to.
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
    check_positive("gamma", gamma)
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"order is {order!r}; expected a whole number of at least 1.")


class SPLoss(GlobalBatchLoss):
    """:func:`sp_loss` over the global batch."""

    inputs: ClassVar[Inputs] = "embedding"

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``(*, B, ds)`` and ``(*, B, dt)`` to a scalar."""
        return sp_loss(student, teacher)


class PKTLoss(GlobalBatchLoss):
    """:func:`pkt_loss` over the global batch."""

    inputs: ClassVar[Inputs] = "embedding"

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``(*, B, ds)`` and ``(*, B, dt)`` to a scalar."""
        return pkt_loss(student, teacher)


class CCLoss(GlobalBatchLoss):
    """:func:`cc_loss` over the global batch."""

    inputs: ClassVar[Inputs] = "embedding"

    def __init__(self, *, gamma: float = 0.4, order: int = 2, gather: bool = True) -> None:
        super().__init__(gather=gather)
        _check_series(gamma, order)
        self.gamma, self.order = gamma, order

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``(*, B, ds)`` and ``(*, B, dt)`` to a scalar."""
        return cc_loss(student, teacher, gamma=self.gamma, order=self.order)


class MADLoss(nn.Module):
    """:func:`mad_loss` over the global batch, with what the teacher's prediction says of its uncertainty.

    Args:
        uncertainty: ``entropy`` of class logits, or ``error``, the distance of regression outputs from the target;
            a sample without a label then counts like the mean of those with one.
        per: as in the function.
        gather: see the other processes' samples.
    """

    inputs: ClassVar[Inputs] = "embedding"
    needs: ClassVar[tuple[str, ...]] = ("teacher_prediction", "target", "labelled")

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
        """``(B, ds)``, ``(B, dt)`` and the teacher's ``(B, C)`` outputs to a scalar."""
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
        raise ValueError("target is None; expected the targets, from which the teacher's error is taken.")
    rows = labelled_rows(labelled, target, prediction)
    error = torch.ones_like(prediction[:, 0])
    known = (prediction[rows] - target[rows].to(prediction)).norm(dim=-1)
    if known.numel():
        error *= known.mean()
        error[rows] = known
    return error
