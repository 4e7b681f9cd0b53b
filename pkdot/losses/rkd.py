"""Relational knowledge distillation: distances and angles."""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from pkdot.checks import check_not_negative
from pkdot.losses._inputs import check_pair, distances, full_precision, no_loss
from pkdot.losses.base import GlobalBatchLoss
from pkdot.precision import half_range, in_range, power_of_two, smallest_size
from pkdot.structure import row_blocks

_BLOCK_ENTRIES = 2**18
"""Number of cosines that are held at once; they fit into the L2 cache of a processor core."""
_EQUAL = 1e-18
"""Samples count as equal below this distance, relative to the extent of the batch. Its square does not underflow."""


def rkd_loss(student: Tensor, teacher: Tensor, *, distance: float = 25.0, angle: float = 50.0) -> Tensor:
    r"""Equal distances between pairs and equal angles between triples of samples.

    .. math::
        \frac{w_d}{B^2} \sum_{ij} h\Big(\frac{d^S_{ij}}{\bar d^S}, \frac{d^T_{ij}}{\bar d^T}\Big)
        + \frac{w_a}{B^3} \sum_{ijl} h\big(\cos \angle^S_{jil}, \cos \angle^T_{jil}\big)

    with the smooth L1 distance h and the mean :math:`\bar d` of the positive distances. Park et al., CVPR 2019 (arXiv
    1904.05068), with the weights of its authors. Use it if the widths differ; it ignores offset, rotation and scale.
    The time for the angles grows with the cube of the batch size, the RAM does not; ``angle=0`` leaves them out.
    Between equal samples there is no direction: their angles have cosine 0 and no gradient. The gradient is of first
    order.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.
        distance: :math:`w_d`, the weight of the distances.
        angle: :math:`w_a`, the weight of the angles.

    Returns:
        A scalar, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit, values are not finite, or a weight is negative.

    >>> teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    >>> round(float(rkd_loss(3 * teacher + 1, teacher)), 4)
    0.0
    >>> bool(rkd_loss(teacher[:, :1], teacher) > 0)
    True
    """
    check_not_negative(distance=distance, angle=angle)
    check_pair(student, teacher)
    return _relations(student, teacher, distance, angle) if student.numel() else no_loss(student)


@full_precision
def _relations(student: Tensor, teacher: Tensor, distance: float, angle: float) -> Tensor:
    loss = no_loss(student)
    if distance > 0:
        loss = loss + distance * functional.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))
    if angle > 0:
        loss = loss + angle * _AngleDifference.apply(student, teacher)  # type: ignore[no-untyped-call]
    return loss


def _relative_distances(z: Tensor) -> Tensor:
    apart = distances(in_range(z, _extent(z)))
    pairs = (apart > 0).sum((-2, -1), keepdim=True)
    mean = apart.sum((-2, -1), keepdim=True) / pairs.clamp(min=1)
    return apart / mean.where(pairs > 0, 1.0)


class _AngleDifference(torch.autograd.Function):
    """Mean smooth L1 distance between the cosines at every sample, together with its gradient, block by block."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        extent = _extent(student)
        factor = power_of_two(extent)
        # In a batch of tiny extent, samples count as equal before their gradient overflows.
        smallest = torch.full_like(extent, smallest_size(student.dtype)) * factor
        equal = smallest.clamp(min=_EQUAL).unsqueeze(-1)
        student, teacher = in_range(student, extent), in_range(teacher, _extent(teacher))
        loss, gradient = student.new_zeros(()), torch.zeros_like(student)
        per_row = student.shape[-2] * max(student.shape[-2], student.shape[-1], teacher.shape[-1])
        for rows in row_blocks(student, per_row, _BLOCK_ENTRIES):
            directions, per_length = _directions(student, rows, equal)
            of_teacher, _ = _directions(teacher, rows, _EQUAL)
            difference = directions @ directions.mT - of_teacher @ of_teacher.mT
            slope = difference.clamp(-1, 1)
            loss += (slope * (difference - slope / 2)).sum()
            if ctx.needs_input_grad[0]:
                # A cosine is symmetric in its two directions, and does not depend on their lengths.
                pull = 2 * slope @ directions
                pull = (pull - (pull * directions).sum(-1, keepdim=True) * directions) * per_length
                gradient += pull.sum(-3)
                gradient[..., rows, :] -= pull.sum(-2)
        angles = student.shape[:-1].numel() * student.shape[-2] ** 2
        ctx.save_for_backward(gradient / angles * factor)
        return loss / angles

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return slope * gradient, None


def _extent(z: Tensor) -> Tensor:
    """``(*, 1, 1)``: half the widest range of a coordinate, the scale that distances and angles do not depend on."""
    return half_range(z, -2).amax(-1, keepdim=True)


def _directions(z: Tensor, rows: slice, equal: Tensor | float) -> tuple[Tensor, Tensor]:
    """Unit vectors ``(*, rows, B, d)`` from these rows to all samples, zero between equal ones, and 1 / distance."""
    apart = rearrange(z, "... b d -> ... 1 b d") - rearrange(z[..., rows, :], "... r d -> ... r 1 d")
    length = torch.linalg.vector_norm(apart, dim=-1, keepdim=True)
    per_length = torch.where(length > equal, 1 / length, 0.0)
    return apart * per_length, per_length


class RKDLoss(GlobalBatchLoss):
    """:func:`rkd_loss` over the global batch.

    >>> RKDLoss(angle=0.0)(torch.eye(3), torch.eye(3))
    tensor(0.)
    """

    def __init__(self, *, distance: float = 25.0, angle: float = 50.0, gather: bool = True) -> None:
        super().__init__(gather=gather)
        check_not_negative(distance=distance, angle=angle)
        self.distance, self.angle = distance, angle

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        return rkd_loss(student, teacher, distance=self.distance, angle=self.angle)
