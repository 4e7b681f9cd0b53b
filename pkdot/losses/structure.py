"""Structure losses without transport: ablations of OT, and its strongest rivals."""

from typing import get_args

import torch
from torch import Tensor

from pkdot.checks import check_choice, check_positive
from pkdot.losses._inputs import anchor_count, check_pair, check_topk, no_loss
from pkdot.losses.base import GlobalBatchLoss
from pkdot.structure import AnchorSimilarities, Select, Shift, anchor_similarities


def structure_mse_loss(
    student: Tensor, teacher: Tensor, *, topk: int | float = 1.0, select: Select = "nearest", shift: Shift = "none"
) -> Tensor:
    r"""Mean squared difference between the similarities of student and teacher to the anchors.

    .. math:: \frac{1}{Bk} \sum_{i} \sum_{j \in A_i} (S^S_{ij} - S^T_{ij})^2

    With all columns it is similarity matching on unit rows (after Tung and Mori, ICCV 2019). Each sample is compared
    with its own row: use it where the pairs are trusted, not where teacher and student saw different samples.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.
        topk: anchors per sample, a number or a share of the batch in (0, 1]; at most B - 1.
        select: which columns are anchors, see :func:`pkdot.structure.topk_anchors`.
        shift: see :func:`pkdot.structure.anchor_clouds`.

    Returns:
        A scalar, in float32 at least; 0 for fewer than two samples.

    Raises:
        ValueError: shapes do not fit, values are not finite, or a setting is out of range.

    >>> teacher = torch.eye(4)[[0, 0, 1, 1]]
    >>> float(structure_mse_loss(2 * teacher, teacher))
    0.0
    >>> round(float(structure_mse_loss(torch.eye(4), teacher)), 3)
    0.333
    """
    check_pair(student, teacher)
    _check(topk, select, shift)
    if student.shape[-2] < 2:
        return no_loss(student)
    with torch.autocast(student.device.type, enabled=False):
        k = anchor_count(topk, student.shape[-2])
        return squared_difference(anchor_similarities(student, teacher, k, select=select, shift=shift))


def structure_kl_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    topk: int | float = 1.0,
    select: Select = "nearest",
    temperature: float = 0.1,
) -> Tensor:
    r"""KL divergence between the softmax distributions of each sample over its anchors.

    .. math::
        \frac1B \sum_i \mathrm{KL}(p^T_i \,\|\, p^S_i), \qquad
        p_i = \mathrm{softmax}_{j \in A_i}(S_{ij} / \tau)

    The relational form of knowledge distillation (Passalis and Tefas, ECCV 2018, with a softmax instead of their
    kernel). A sample is not its own anchor. OT between the same distributions has to beat this loss;
    ``benchmarks/results/methods.md`` compares them. Use it where the pairs are trusted.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.
        topk: anchors per sample, a number or a share of the batch in (0, 1]; at most B - 1.
        select: which columns are anchors, see :func:`pkdot.structure.topk_anchors`.
        temperature: of the softmax, in units of cosine similarity.

    Returns:
        A scalar in nats, in float32 at least; 0 for fewer than two samples.

    Raises:
        ValueError: shapes do not fit, values are not finite, or a setting is out of range.

    >>> teacher = torch.eye(4)[[0, 0, 1, 1]]
    >>> float(structure_kl_loss(2 * teacher, teacher))
    0.0
    >>> round(float(structure_kl_loss(torch.eye(4), teacher)), 3)
    1.098
    """
    check_pair(student, teacher)
    _check(topk, select, "none")
    check_positive(temperature=temperature)
    if student.shape[-2] < 2:
        return no_loss(student)
    with torch.autocast(student.device.type, enabled=False):
        k = anchor_count(topk, student.shape[-2])
        return row_divergence(anchor_similarities(student, teacher, k, select=select), temperature)


def squared_difference(kept: AnchorSimilarities) -> Tensor:
    """Mean squared difference between the similarities of student and teacher, a scalar.

    >>> squared_difference(anchor_similarities(torch.eye(3), torch.eye(3)[[0, 0, 1]], 1, select="nearest"))
    tensor(0.6667)
    """
    return (kept.student - kept.teacher).square().mean()


def row_divergence(kept: AnchorSimilarities, temperature: float) -> Tensor:
    """Mean KL divergence between the distributions of student and teacher over the anchors, a scalar in nats.

    >>> row_divergence(anchor_similarities(torch.eye(3), torch.eye(3), 2, select="nearest"), 0.1)
    tensor(0.)
    """
    log_s, log_t = (log_distributions(z, kept.own, temperature) for z in (kept.student, kept.teacher))
    difference = torch.where(log_t.isfinite(), log_t, 0.0) - torch.where(log_s.isfinite(), log_s, 0.0)
    return (log_t.exp() * difference).sum(-1).mean()


def log_distributions(similarities: Tensor, own: Tensor, temperature: float) -> Tensor:
    """Log-softmax of similarities to anchors, without a sample's similarity to itself.

    Args:
        similarities: ``(*, B, k)``.
        own: ``(*, B, k)`` bool, where an anchor is the sample itself. It gets no mass, unless it is the only anchor.
        temperature: in units of the similarities.

    Returns:
        ``(*, B, k)``, minus infinity where there is no mass.

    >>> own = torch.tensor([[True, False, False]])
    >>> log_distributions(torch.tensor([[1.0, 0.5, 0.5]]), own, 0.1).exp()
    tensor([[0.0000, 0.5000, 0.5000]])
    """
    hidden = own if own.shape[-1] > 1 else torch.zeros_like(own)
    return (similarities / temperature).masked_fill(hidden, -torch.inf).log_softmax(-1)


class StructureMSELoss(GlobalBatchLoss):
    """:func:`structure_mse_loss` over the global batch.

    >>> StructureMSELoss(topk=2)(torch.eye(4), torch.eye(4))
    tensor(0.)
    """

    def __init__(
        self, *, topk: int | float = 1.0, select: Select = "nearest", shift: Shift = "none", gather: bool = True
    ) -> None:
        super().__init__(gather=gather)
        _check(topk, select, shift)
        self.topk, self.select, self.shift = topk, select, shift

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        return structure_mse_loss(student, teacher, topk=self.topk, select=self.select, shift=self.shift)


class StructureKLLoss(GlobalBatchLoss):
    """:func:`structure_kl_loss` over the global batch.

    >>> StructureKLLoss(temperature=0.5)(torch.eye(4), torch.eye(4))
    tensor(0.)
    """

    temperature_unit = "similarity"

    def __init__(
        self, *, topk: int | float = 1.0, select: Select = "nearest", temperature: float = 0.1, gather: bool = True
    ) -> None:
        super().__init__(gather=gather)
        _check(topk, select, "none")
        check_positive(temperature=temperature)
        self.topk, self.select, self.temperature = topk, select, temperature

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        return structure_kl_loss(student, teacher, topk=self.topk, select=self.select, temperature=self.temperature)


def _check(topk: int | float, select: str, shift: str) -> None:
    check_topk(topk)
    check_choice("select", select, get_args(Select))
    check_choice("shift", shift, get_args(Shift))
