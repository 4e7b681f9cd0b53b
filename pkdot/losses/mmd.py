"""Maximum mean discrepancy between two batches of embeddings."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pkdot.losses._inputs import Inputs, check_positive, check_width, full_precision, gather_pair, no_loss
from pkdot.losses.embedding import connector
from pkdot.precision import half_range, in_range
from pkdot.structure import distances


def mmd_loss(student: Tensor, teacher: Tensor, *, kernels: int = 5, ratio: float = 2.0) -> Tensor:
    r"""Squared maximum mean discrepancy between the batches, under a sum of Gaussian kernels.

    .. math::
        \frac{1}{B^2} \sum_{ij} k(s_i, s_j) + k(t_i, t_j) - 2 k(s_i, t_j), \qquad
        k(x, y) = \sum_m e^{-\|x - y\|^2 / h_m}, \quad h_m = h \, r^{m - \lfloor M / 2 \rfloor}

    with the mean squared distance h between all 2B points, a constant to the gradient. Gretton et al., JMLR 2012, in
    the form of MT-PKDOT's code. It compares the two sets and forgets which samples belong together: use it where
    pairs are missing, and a loss between pairs where they are known.

    Args:
        student: ``(*, B, d)`` embeddings, which get the gradient.
        teacher: ``(*, B, d)`` embeddings, detached.
        kernels: M.
        ratio: r, between one bandwidth and the next.

    Returns:
        A scalar, in float32 at least, the mean over leading dimensions; 0 for an empty batch.

    Raises:
        ValueError: shapes differ, values are not finite, a setting is out of range.
    """
    check_positive("ratio", ratio)
    check_positive("kernels", kernels)
    check_width(student, teacher)
    return _discrepancy(student, teacher, kernels, ratio) if student.numel() else no_loss(student)


@full_precision
def _discrepancy(student: Tensor, teacher: Tensor, kernels: int, ratio: float) -> Tensor:
    batch = student.shape[-2]
    points = torch.cat([student, teacher], -2)
    # The bandwidths take the scale along.
    points = in_range(points, half_range(points, -2).amax(-1, keepdim=True))
    squared = distances(points).square()
    bandwidth = squared.detach().sum((-2, -1), keepdim=True) / (2 * batch * (2 * batch - 1))
    # Where all points are equal every kernel is 1, whatever its width.
    bandwidth = bandwidth.where(bandwidth > 0, 1.0)
    widths = [bandwidth * ratio ** (m - kernels // 2) for m in range(kernels)]
    similar = torch.stack([(-squared / width).exp() for width in widths]).sum(0)
    own = similar[..., :batch, :batch] + similar[..., batch:, batch:]
    return (own - similar[..., :batch, batch:] - similar[..., batch:, :batch]).mean()


class MMDLoss(nn.Module):
    """:func:`mmd_loss` over the global batch, after a learned connector where the widths are given.

    Args:
        kernels: as in the function.
        ratio: as in the function.
        student_width: of the student's embedding; None compares the embeddings themselves.
        teacher_width: of the teacher's.
        gather: see the other processes' samples.
    """

    inputs: ClassVar[Inputs] = "embedding"

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
        check_positive("ratio", ratio)
        check_positive("kernels", kernels)
        self.connector = connector(student_width, teacher_width)
        self.kernels, self.ratio, self.gather = kernels, ratio, gather

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``(*, B, ds)`` and ``(*, B, dt)`` to a scalar."""
        student = self.connector(student)
        if self.gather:
            student, teacher = gather_pair(student, teacher)
        return mmd_loss(student, teacher, kernels=self.kernels, ratio=self.ratio)
