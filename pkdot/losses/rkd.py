"""Relational knowledge distillation: distances and angles."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from pkdot.losses._global import GlobalBatchLoss
from pkdot.losses._inputs import Inputs, check_pair, check_weights, full_precision, no_loss
from pkdot.structure import distances, unit_rows


def rkd_loss(student: Tensor, teacher: Tensor, *, distance: float = 25.0, angle: float = 50.0) -> Tensor:
    r"""Equal distances between pairs and equal angles between triples of samples.

    .. math::
        \frac{w_d}{B^2} \sum_{ij} h\Big(\frac{d^S_{ij}}{\bar d^S}, \frac{d^T_{ij}}{\bar d^T}\Big)
        + \frac{w_a}{B^3} \sum_{ijl} h\big(\cos \angle^S_{jil}, \cos \angle^T_{jil}\big)

    with the smooth L1 distance h and the mean :math:`\bar d` of the distances above 0. Park et al., CVPR 2019 (arXiv
    1904.05068), with the weights of its authors. Use it where widths differ; it sees no offset, no rotation and no
    scale. The angles take memory that grows with the cube of the batch, 34 MB of single precision at B = 128 for each
    model and step of the computation: ``angle=0`` leaves them out. Equal samples have no direction between them: their
    angles have the cosine 0, and no gradient.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.
        distance: :math:`w_d`.
        angle: :math:`w_a`.

    Returns:
        A scalar, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit, values are not finite, a weight is negative.
    """
    check_weights(distance=distance, angle=angle)
    check_pair(student, teacher)
    return _relations(student, teacher, distance, angle) if student.numel() else no_loss(student)


@full_precision
def _relations(student: Tensor, teacher: Tensor, distance: float, angle: float) -> Tensor:
    loss = no_loss(student)
    if distance > 0:
        loss = loss + distance * functional.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))
    if angle > 0:
        loss = loss + angle * functional.smooth_l1_loss(_angles(student), _angles(teacher))
    return loss


def _relative_distances(z: Tensor) -> Tensor:
    apart = distances(z)
    pairs = (apart > 0).sum((-2, -1), keepdim=True)
    mean = apart.sum((-2, -1), keepdim=True) / pairs.clamp(min=1)
    return apart / mean.where(pairs > 0, 1.0)


def _angles(z: Tensor) -> Tensor:
    """Cosines ``(*, B, B, B)`` at the first sample between the directions to the second and to the third."""
    directions = unit_rows(z.unsqueeze(-3) - z.unsqueeze(-2))
    return directions @ directions.mT


class RKDLoss(GlobalBatchLoss):
    """:func:`rkd_loss` over the global batch."""

    inputs: ClassVar[Inputs] = "embedding"

    def __init__(self, *, distance: float = 25.0, angle: float = 50.0, gather: bool = True) -> None:
        super().__init__(gather=gather)
        check_weights(distance=distance, angle=angle)
        self.distance, self.angle = distance, angle

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``(*, B, ds)`` and ``(*, B, dt)`` to a scalar."""
        return rkd_loss(student, teacher, distance=self.distance, angle=self.angle)
