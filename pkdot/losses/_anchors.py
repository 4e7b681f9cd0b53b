"""Student's and teacher's similarities to the teacher's anchors, as numbers and as distributions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pkdot.losses._inputs import anchor_count
from pkdot.structure import Select, Shift, described_by_anchors, unit_rows


@dataclass(frozen=True)
class AnchorSimilarities:
    """What B samples are like, in terms of k anchors each.

    Attributes:
        student: ``(*, B, k)`` similarities in the student's space.
        teacher: ``(*, B, k)`` similarities in the teacher's space, detached.
        anchors: ``(*, B, k)`` int64, columns of the structure matrices.
        own: ``(*, B, k)`` bool, where an anchor is the sample itself; shared anchors only.
        teacher_unit: ``(*, B, dt)``, the teacher's embeddings at length 1.
    """

    student: Tensor
    teacher: Tensor
    anchors: Tensor
    own: Tensor
    teacher_unit: Tensor


def anchor_similarities(
    student: Tensor, teacher: Tensor, *, topk: int | float, select: Select, shift: Shift = "none"
) -> AnchorSimilarities:
    """Similarities of each sample to its anchors, which the teacher's structure chooses; no B x B matrix is kept."""
    unit_s, unit_t = unit_rows(student), unit_rows(teacher.detach())
    batch = student.shape[-2]
    anchors, kept_s, kept_t = described_by_anchors(
        unit_s, unit_t, anchor_count(topk, batch), select=select, shift=shift
    )
    own = anchors == torch.arange(batch, device=anchors.device).unsqueeze(-1)
    return AnchorSimilarities(kept_s, kept_t, anchors, own, unit_t)


def log_distributions(similarities: Tensor, own: Tensor, temperature: float) -> Tensor:
    """Log-softmax of ``(*, B, k)`` similarities; a sample has no mass on itself, unless it is its only anchor."""
    hidden = own if own.shape[-1] > 1 else torch.zeros_like(own)
    return (similarities / temperature).masked_fill(hidden, -torch.inf).log_softmax(-1)
