"""Maximum mean discrepancy between two batches of embeddings."""

import torch
from torch import Tensor

from pkdot.checks import check_count, check_positive
from pkdot.losses._inputs import check_width, distances, full_precision, gather_pair, no_loss
from pkdot.losses.base import DistillationLoss
from pkdot.losses.embedding import connector
from pkdot.precision import half_range, in_range


def mmd_loss(student: Tensor, teacher: Tensor, *, kernels: int = 5, ratio: float = 2.0) -> Tensor:
    r"""Squared maximum mean discrepancy between the batches, under a sum of Gaussian kernels.

    .. math::
        \frac{1}{B^2} \sum_{ij} k(s_i, s_j) + k(t_i, t_j) - 2 k(s_i, t_j), \qquad
        k(x, y) = \sum_m e^{-\|x - y\|^2 / h_m}, \quad h_m = h \, r^{m - \lfloor M / 2 \rfloor}

    with the mean squared distance h between all 2B points, which gets no gradient. Gretton et al., JMLR 2012, in the
    form of MT-PKDOT's code. It compares the two sets of points and ignores which samples belong together. Use it where
    the pairs are unknown; where they are known, use a loss between pairs.

    Args:
        student: ``(*, B, d)`` embeddings, which get the gradient.
        teacher: ``(*, B, d)`` embeddings, detached.
        kernels: M, the number of kernels.
        ratio: r, the ratio between successive bandwidths.

    Returns:
        A scalar, in float32 at least, the mean over leading dimensions; 0 for an empty batch.

    Raises:
        ValueError: shapes differ, values are not finite, or a setting is out of range.

    >>> teacher = torch.tensor([[0.0], [1.0], [2.0]])
    >>> float(mmd_loss(teacher.flip(0), teacher).abs()) < 1e-6
    True
    >>> bool(mmd_loss(teacher + 1, teacher) > 0)
    True
    """
    check_positive(ratio=ratio)
    check_count(kernels=kernels)
    check_width(student, teacher)
    return _discrepancy(student, teacher, kernels, ratio) if student.numel() else no_loss(student)


@full_precision
def _discrepancy(student: Tensor, teacher: Tensor, kernels: int, ratio: float) -> Tensor:
    batch = student.shape[-2]
    points = torch.cat([student, teacher], -2)
    # The bandwidths scale with the points, so that the result does not depend on their unit.
    points = in_range(points, half_range(points, -2).amax(-1, keepdim=True))
    squared = distances(points).square()
    bandwidth = squared.detach().sum((-2, -1), keepdim=True) / (2 * batch * (2 * batch - 1))
    # If all points are equal, every kernel is 1 for any bandwidth.
    bandwidth = bandwidth.where(bandwidth > 0, 1.0)
    widths = [bandwidth * ratio ** (m - kernels // 2) for m in range(kernels)]
    similar = torch.stack([(-squared / width).exp() for width in widths]).sum(0)
    own = similar[..., :batch, :batch] + similar[..., batch:, batch:]
    return (own - similar[..., :batch, batch:] - similar[..., batch:, :batch]).mean()


class MMDLoss(DistillationLoss):
    """:func:`mmd_loss` over the global batch, after a learned connector if the widths are given.

    Args:
        kernels: as in the function.
        ratio: as in the function.
        student_width: width of the student's embedding; None compares the embeddings themselves.
        teacher_width: width of the teacher's embedding.
        gather: use the samples of all processes.

    >>> float(MMDLoss()(torch.eye(3), torch.eye(3)).abs()) < 1e-6
    True
    """

    def __init__(
        self,
        *,
        kernels: int = 5,
        ratio: float = 2.0,
        student_width: int | None = None,
        teacher_width: int | None = None,
        gather: bool = True,
    ) -> None:
        super().__init__()
        check_positive(ratio=ratio)
        check_count(kernels=kernels)
        self.connector = connector(student_width, teacher_width)
        self.kernels, self.ratio, self.gather = kernels, ratio, gather

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        student = self.connector(student)
        if self.gather:
            student, teacher = gather_pair(student, teacher)
        return mmd_loss(student, teacher, kernels=self.kernels, ratio=self.ratio)
