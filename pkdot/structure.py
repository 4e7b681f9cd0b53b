"""The structure of a batch: who resembles whom, by whom a sample is described, and the clouds that OT compares."""

from typing import Literal, get_args

import torch
from torch import Tensor

Select = Literal["nearest", "farthest", "stratified", "shared"]
Shift = Literal["none", "min"]


def cosine_structure(z: Tensor) -> Tensor:
    r"""Cosine similarities between all samples of a batch.

    .. math:: S_{ij} = \langle z_i, z_j \rangle / (\|z_i\| \, \|z_j\|)

    A zero row is similar to nothing, itself included: its similarities and its gradient are 0. Half precision is
    computed and returned in float32, also under autocast.

    Args:
        z: ``(*, B, d)`` embeddings.

    Returns:
        ``(*, B, B)`` similarities in [-1, 1].

    Raises:
        ValueError: ``z`` has fewer than two dimensions.
    """
    if z.dim() < 2:
        raise ValueError(f"embeddings have shape {tuple(z.shape)}; expected (*, B, d).")
    with torch.autocast(z.device.type, enabled=False):
        unit = unit_rows(z)
        similarities: Tensor = unit @ unit.mT
        return similarities


def unit_rows(z: Tensor) -> Tensor:
    """Rows of ``(*, B, d)`` scaled to length 1, in float32 at least; zero rows stay zero and get no gradient."""
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    # Scaling by the largest entry first keeps the squares of huge and of tiny rows in range; directions do not change.
    size = z.detach().abs().amax(-1, keepdim=True) if z.shape[-1] else z.new_zeros(*z.shape[:-1], 1)
    alive = size > 0
    z = torch.where(alive, z / torch.where(alive, size, 1.0), 0.0)
    length: Tensor = torch.where(alive, z, 1.0).norm(dim=-1, keepdim=True)
    return z / length


def topk_anchors(structure: Tensor, k: int, *, select: Select = "nearest", exclude_self: bool = True) -> Tensor:
    """Columns of the structure matrix that describe each row: its anchors.

    The order is part of the result, because OT compares coordinate j of one row with coordinate j of another:

    - ``nearest``: the k most similar columns of a row, most similar first;
    - ``farthest``: the k least similar columns of a row, least similar first;
    - ``stratified``: the columns at k evenly spaced ranks of a row, most similar first;
    - ``shared``: the same k columns for every row, in index order: columns are ranked by their mean similarity to
      the other samples, and those at k evenly spaced ranks are kept, so that anchors lie in the dense as well as in
      the sparse parts of the batch.

    Ties go to the smaller index. Except for the order of ``shared``, permuting the batch permutes the result.

    Args:
        structure: ``(*, B, B)`` similarities, usually the teacher's.
        k: anchors per row, at least 1; more than there are candidates means all of them.
        select: which columns.
        exclude_self: leave column i out of row i. ``shared`` cannot (a shared column is some row's own); there it
            only lowers the number of candidates to ``B - 1``.

    Returns:
        int64 ``(*, B, min(k, B - 1))``, or ``(*, B, min(k, B))`` with ``exclude_self=False``.

    Raises:
        ValueError: ``structure`` is not square, ``k`` is not a whole number of at least 1, unknown ``select``.
    """
    if structure.dim() < 2 or structure.shape[-1] != structure.shape[-2]:
        raise ValueError(f"structure has shape {tuple(structure.shape)}; expected (*, B, B).")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k is {k!r}; expected a whole number of at least 1.")
    if select not in get_args(Select):
        raise ValueError(f"select is {select!r}; expected one of {', '.join(get_args(Select))}.")
    structure = structure.detach()
    batch = structure.shape[-1]
    candidates = batch - 1 if exclude_self else batch
    k = min(k, candidates)
    own = torch.eye(batch, dtype=torch.bool, device=structure.device)

    if select == "shared":
        rank = structure.masked_fill(own, 0.0).sum(-2).sort(descending=True, stable=True).indices
        columns = rank[..., _evenly_spaced(k, batch, rank.device)].sort().values
        return columns.unsqueeze(-2).expand(*structure.shape[:-1], k).contiguous()

    if exclude_self:
        structure = structure.masked_fill(own, torch.inf if select == "farthest" else -torch.inf)
    rank = structure.sort(descending=select != "farthest", stable=True).indices
    if select == "stratified":
        return rank[..., _evenly_spaced(k, candidates, rank.device)]
    return rank[..., :k].contiguous()


def _evenly_spaced(k: int, candidates: int, device: torch.device) -> Tensor:
    return torch.arange(k, device=device) * (candidates - 1) // max(k - 1, 1)


def anchor_clouds(
    student: Tensor,
    teacher: Tensor,
    k: int,
    *,
    select: Select = "nearest",
    shift: Shift = "none",
    exclude_self: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""Two clouds of B points: each sample's similarities to its anchors, as the student and as the teacher sees them.

    .. math:: x^S_{ij} = S^S_{i, A_i(j)}, \qquad x^T_{ij} = S^T_{i, A_i(j)}, \qquad A = \text{anchors of } S^T

    Args:
        student: ``(*, B, ds)`` embeddings; the gradient flows into them, and through the shift.
        teacher: ``(*, B, dt)`` embeddings; detached.
        k: anchors per sample, see :func:`topk_anchors`.
        select: which columns are anchors, see :func:`topk_anchors`.
        shift: ``min`` subtracts each matrix's own smallest entry first, as the published PKDOT code does
            (arXiv 2401.15489). Balanced OT sees the shift in its mean term only.
        exclude_self: leave a sample out of its own anchors.

    Returns:
        Student's and teacher's cloud, each ``(*, B, k)``.

    Raises:
        ValueError: batch shapes differ, or as :func:`topk_anchors`; unknown ``shift``.
    """
    if student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ before the last dimension; "
            "expected (*, B, ds) and (*, B, dt)."
        )
    if shift not in get_args(Shift):
        raise ValueError(f"shift is {shift!r}; expected one of {', '.join(get_args(Shift))}.")
    structure_s, structure_t = cosine_structure(student), cosine_structure(teacher.detach())
    anchors = topk_anchors(structure_t, k, select=select, exclude_self=exclude_self)
    if shift == "min":
        structure_s = structure_s - structure_s.amin((-2, -1), keepdim=True)
        structure_t = structure_t - structure_t.amin((-2, -1), keepdim=True)
    return structure_s.gather(-1, anchors), structure_t.gather(-1, anchors)
