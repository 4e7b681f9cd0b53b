"""Student's and teacher's similarities to the teacher's anchors, as numbers and as distributions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pkdot.losses._inputs import anchor_count
from pkdot.structure import Select, Shift, cosine_structure, topk_anchors


@dataclass(frozen=True)
class AnchorSimilarities:
    """What B samples are like, in terms of k anchors each.

    Attributes:
        student: ``(*, B, k)`` similarities in the student's space.
        teacher: ``(*, B, k)`` similarities in the teacher's space, detached.
        anchors: ``(*, B, k)`` int64, columns of the structure matrices.
        own: ``(*, B, k)`` bool, where an anchor is the sample itself; shared anchors only.
        teacher_structure: ``(*, B, B)``.
    """

    student: Tensor
    teacher: Tensor
    anchors: Tensor
    own: Tensor
    teacher_structure: Tensor


def anchor_similarities(
    student: Tensor, teacher: Tensor, *, topk: int | float, select: Select, shift: Shift = "none"
) -> AnchorSimilarities:
    """Similarities of each sample to its anchors, which the teacher's structure matrix chooses."""
    structure_s, structure_t = cosine_structure(student), cosine_structure(teacher.detach())
    batch = student.shape[-2]
    anchors = topk_anchors(structure_t, anchor_count(topk, batch), select=select)
    own = anchors == torch.arange(batch, device=anchors.device).unsqueeze(-1)
    kept_s, kept_t = structure_s.gather(-1, anchors), structure_t.gather(-1, anchors)
    if shift == "min":
        kept_s = kept_s - structure_s.amin((-2, -1), keepdim=True)
        kept_t = kept_t - structure_t.amin((-2, -1), keepdim=True)
    return AnchorSimilarities(kept_s, kept_t, anchors, own, structure_t)


def log_distributions(similarities: Tensor, own: Tensor, temperature: float) -> Tensor:
    """Log-softmax of ``(*, B, k)`` similarities; a sample has no mass on itself, unless it is its only anchor."""
    hidden = own if own.shape[-1] > 1 else torch.zeros_like(own)
    return (similarities / temperature).masked_fill(hidden, -torch.inf).log_softmax(-1)
