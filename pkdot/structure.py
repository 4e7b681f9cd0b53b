"""The structure of a batch: how similar its samples are, which of them are anchors, and the clouds that OT compares."""

import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn.functional import embedding_bag

from pkdot.checks import check_choice, check_count
from pkdot.precision import at_least_float32, in_range
from pkdot.ranking import columns_at_ranks, evenly_spaced_ranks, extreme_columns

Select = Literal["nearest", "farthest", "stratified", "shared"]
Shift = Literal["none", "min"]

# Lengths whose squares are in the range of single precision.
_SHORTEST, _LONGEST = 1e-15, 1e15
# Entries of a structure matrix that are held at once.
_BLOCK_ENTRIES = 2**21


def cosine_structure(z: Tensor) -> Tensor:
    r"""Cosine similarities between all samples of a batch.

    .. math:: S_{ij} = \langle z_i, z_j \rangle / (\|z_i\| \, \|z_j\|)

    The similarities and the gradient of a zero row are 0, also its similarity to itself. Half precision is computed and
    returned in float32, also under autocast.

    Args:
        z: ``(*, B, d)`` embeddings.

    Returns:
        ``(*, B, B)`` similarities in [-1, 1].

    Raises:
        ValueError: ``z`` has fewer than two dimensions.

    >>> cosine_structure(torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]))
    tensor([[ 1.,  0., -1.],
            [ 0.,  1.,  0.],
            [-1.,  0.,  1.]])
    """
    if z.dim() < 2:
        raise ValueError(f"embeddings have shape {tuple(z.shape)}; expected (*, B, d).")
    with torch.autocast(z.device.type, enabled=False):
        unit = unit_rows(z)
        similarities: Tensor = unit @ unit.mT
        return similarities


def unit_rows(z: Tensor) -> Tensor:
    """Scale the rows of ``(*, B, d)`` to length 1, in float32 at least. Zero rows stay zero and get no gradient.

    A row so short that its gradient would overflow counts as zero: see :func:`pkdot.precision.smallest_size`.

    >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    z = at_least_float32(z)
    if not z.numel():
        return z
    length = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    if torch.compiler.is_compiling() or not _squares_fit(length):
        # Dividing by the largest entry keeps the squares of huge and of tiny rows in range. Directions do not change.
        z = in_range(z, z.detach().abs().amax(-1, keepdim=True))
        length = torch.linalg.vector_norm(torch.where((z == 0).all(-1, keepdim=True), 1.0, z), dim=-1, keepdim=True)
    unit: Tensor = z / length
    return unit


def _squares_fit(length: Tensor) -> bool:
    shortest, longest = length.detach().aminmax()
    return float(shortest) > _SHORTEST and float(longest) < _LONGEST


def topk_anchors(structure: Tensor, k: int, *, select: Select = "nearest", exclude_self: bool = True) -> Tensor:
    """Columns of the structure matrix that describe each row: its anchors.

    Their order matters, because OT compares coordinate j of one row with coordinate j of another:

    - ``nearest``: the k most similar columns of a row, most similar first;
    - ``farthest``: the k least similar columns of a row, least similar first;
    - ``stratified``: the columns at k evenly spaced ranks of a row, most similar first;
    - ``shared``: the same k columns for every row, in index order. They lie at k evenly spaced ranks of the columns'
      mean similarity to the other samples, so some are in dense and some in sparse parts of the batch.

    Ties go to the smaller index. Permuting the batch permutes the result, except for the order of ``shared``.

    Args:
        structure: ``(*, B, B)`` similarities, usually the teacher's.
        k: anchors per row, at least 1. If it exceeds the number of candidates, all of them are anchors.
        select: which columns.
        exclude_self: exclude column i from row i. This is impossible for ``shared``, where each anchor is some row's
            own column; there it only lowers the number of candidates to ``B - 1``.

    Returns:
        int64 ``(*, B, min(k, B - 1))``, or ``(*, B, min(k, B))`` with ``exclude_self=False``.

    Raises:
        ValueError: ``structure`` is not square, ``k`` is not a whole number of at least 1, or ``select`` is unknown.

    >>> topk_anchors(torch.tensor([[1.0, 0.9, 0.2], [0.9, 1.0, 0.4], [0.2, 0.4, 1.0]]), 2)
    tensor([[1, 2],
            [0, 2],
            [1, 0]])
    """
    if structure.dim() < 2 or structure.shape[-1] != structure.shape[-2]:
        raise ValueError(f"structure has shape {tuple(structure.shape)}; expected (*, B, B).")
    _check_anchors(k, select)
    structure = structure.detach()
    batch = structure.shape[-1]
    candidates = batch - 1 if exclude_self else batch
    k = min(k, candidates)
    if select == "shared":
        means = structure.masked_fill(torch.eye(batch, dtype=torch.bool, device=structure.device), 0.0).sum(-2)
        return _shared_columns(means, k).expand(*structure.shape[:-1], k).contiguous()
    return _select(structure, 0, k, select, exclude_self=exclude_self)


def find_anchors(unit: Tensor, k: int, *, select: Select, exclude_self: bool = True) -> tuple[Tensor, Tensor]:
    """:func:`topk_anchors` of the structure of unit rows, block by block: the whole matrix is never held. No gradient.

    Args:
        unit: ``(*, B, d)`` rows of length 1 or 0, see :func:`unit_rows`.
        k: anchors per row.
        select: which columns are anchors.
        exclude_self: exclude a sample from its own anchors.

    Returns:
        int64 ``(*, B, k)`` anchors, and the ``(*, B, k)`` similarities to them.

    >>> anchors, similarities = find_anchors(torch.eye(3)[[0, 0, 1]], 1, select="nearest")
    >>> anchors.mT, similarities.mT
    (tensor([[1, 0, 0]]), tensor([[1., 1., 0.]]))
    """
    unit = unit.detach()
    k = min(k, unit.shape[-2] - 1 if exclude_self else unit.shape[-2])
    if select == "shared":
        means = sum(
            _without_own(unit[..., rows, :] @ unit.mT, rows.start, 0.0).sum(-2)
            for rows in row_blocks(unit, unit.shape[-2])
        )
        columns = _shared_columns(torch.as_tensor(means), k)
        shared = unit.gather(-2, repeat(columns, "... 1 k -> ... k d", d=unit.shape[-1]))
        return columns.expand(*unit.shape[:-1], k).contiguous(), unit @ shared.mT
    found = []
    for rows in row_blocks(unit, unit.shape[-2]):
        structure = unit[..., rows, :] @ unit.mT
        anchors = _select(structure, rows.start, k, select, exclude_self=exclude_self, in_place=True)
        found.append((anchors, structure.gather(-1, anchors)))
    anchors, similarities = (torch.cat(part, dim=-2) for part in zip(*found, strict=True))
    return anchors, similarities


def similarities_to(unit: Tensor, anchors: Tensor) -> Tensor:
    r"""Entries :math:`S_{i, A_i(j)}` of the structure of unit rows. The matrix is never formed, nor is its gradient.

    The gradient flows to both rows of an entry. It cannot be differentiated again.

    Args:
        unit: ``(*, B, d)`` rows of length 1 or 0, see :func:`unit_rows`.
        anchors: int64 ``(*, B, k)``, different within a row.

    Returns:
        ``(*, B, k)`` similarities.

    >>> similarities_to(torch.eye(2)[[0, 0, 1]], torch.tensor([[1, 2], [2, 0], [0, 1]]))
    tensor([[1., 0.],
            [0., 1.],
            [0., 0.]])
    """
    if torch.compiler.is_compiling():
        return (unit @ unit.mT).gather(-1, anchors)
    # All problems become one: the columns of each problem stand behind those of the problem before.
    rows, columns = rearrange(unit, "... d -> (...) d"), rearrange(anchors, "... k -> (...) k")
    if len(rows) > unit.shape[-2]:
        problem = torch.arange(len(rows), device=unit.device) // unit.shape[-2]
        columns = columns + rearrange(problem * unit.shape[-2], "row -> row 1")
    entries: Tensor = _Entries.apply(rows, columns)  # type: ignore[no-untyped-call]
    return entries.reshape(anchors.shape)


def smallest_similarity(unit: Tensor) -> Tensor:
    """``(*, 1, 1)``: the smallest entry of the structure of ``(*, B, d)`` unit rows. One pair gets the gradient.

    >>> smallest_similarity(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    tensor([[-1.]])
    """
    if torch.compiler.is_compiling():
        return (unit @ unit.mT).amin((-2, -1), keepdim=True)
    with torch.no_grad():
        # The structure is symmetric: entries to the left of a block were seen in the blocks above it.
        minima = [
            (unit[..., rows, :] @ unit[..., rows.start :, :].mT).amin(-1) for rows in row_blocks(unit, unit.shape[-2])
        ]
        first = torch.cat(minima, dim=-1).argmin(-1)
        second = (_row(unit, first) @ unit.mT).argmin(-1).squeeze(-1)
    return (_row(unit, first) * _row(unit, second)).sum(-1, keepdim=True)


def _row(unit: Tensor, place: Tensor) -> Tensor:
    """``(*, B, d)`` and ``(*)`` to ``(*, 1, d)``."""
    return unit.gather(-2, repeat(place, "... -> ... 1 d", d=unit.shape[-1]))


class _Entries(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, unit: Tensor, anchors: Tensor) -> Tensor:
        ctx.save_for_backward(unit, anchors)
        in_order, order = anchors.sort(-1)
        count, k = anchors.shape
        _make_sparse_tensors_quietly()
        starts = torch.arange(0, count * k + 1, k, device=unit.device)
        pattern = torch.sparse_csr_tensor(starts, in_order.flatten(), unit.new_zeros(count * k), (count, count))
        entries = torch.sparse.sampled_addmm(pattern, unit, unit.mT, beta=0.0).values().reshape(count, k)
        return torch.empty_like(entries).scatter_(-1, order, entries)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        unit, anchors = ctx.saved_tensors
        to_rows = embedding_bag(anchors, unit, per_sample_weights=upstream, mode="sum")
        # The transpose: for each sample, the rows that have it as an anchor.
        order = anchors.flatten().argsort(stable=True)
        starts = torch.searchsorted(anchors.flatten()[order], torch.arange(len(unit), device=unit.device))
        rows, weights = order // anchors.shape[1], upstream.flatten()[order]
        return to_rows + embedding_bag(rows, unit, starts, per_sample_weights=weights, mode="sum"), None


@functools.cache
def _make_sparse_tensors_quietly() -> None:
    """Make torch print its warning about the beta state of sparse tensors now, once, and suppress it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([], dtype=torch.int64), torch.tensor([]), (1, 1))


def row_blocks(z: Tensor, per_row: int, entries: int = _BLOCK_ENTRIES) -> Iterator[slice]:
    """Slices of the rows of ``(*, B, d)``, so that a block holds about ``entries`` numbers.

    Args:
        z: ``(*, B, d)``.
        per_row: numbers that are held for one row of one problem.
        entries: numbers in a block.

    >>> list(row_blocks(torch.ones(5, 3), per_row=5, entries=10))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    batch = z.shape[-2]
    step = max(1, entries // max(1, per_row * z.shape[:-2].numel()))
    return (slice(first, min(first + step, batch)) for first in range(0, batch, step))


def _without_own(structure: Tensor, first: int, value: float) -> Tensor:
    """Rows of a structure matrix from ``first`` on, with ``value`` for a row's similarity to itself."""
    structure.diagonal(first, dim1=-2, dim2=-1).fill_(value)
    return structure


def _shared_columns(sums: Tensor, k: int) -> Tensor:
    """``(*, B)`` column sums to ``(*, 1, k)`` columns."""
    rank = sums.sort(descending=True, stable=True).indices
    columns = rank[..., evenly_spaced_ranks(k, sums.shape[-1], rank.device)].sort().values
    return rearrange(columns, "... k -> ... 1 k")


def _select(
    structure: Tensor, first: int, k: int, select: Select, *, exclude_self: bool, in_place: bool = False
) -> Tensor:
    """Anchors of the rows of a structure matrix from ``first`` on; ``in_place`` may overwrite their own entries."""
    candidates = structure.shape[-1]
    if exclude_self:
        structure = structure if in_place else structure.clone()
        structure = _without_own(structure, first, torch.inf if select == "farthest" else -torch.inf)
        candidates -= 1
    if select == "stratified":
        return columns_at_ranks(structure, evenly_spaced_ranks(k, candidates, structure.device))
    return extreme_columns(structure, k, largest=select == "nearest")


def _check_anchors(k: int, select: str) -> None:
    check_count(k=k)
    check_choice("select", select, get_args(Select))


@dataclass(frozen=True)
class AnchorSimilarities:
    """The similarities of B samples to k anchors each.

    Attributes:
        student: ``(*, B, k)`` similarities in the student's space.
        teacher: ``(*, B, k)`` similarities in the teacher's space, detached.
        anchors: ``(*, B, k)`` int64, columns of the structure matrices.
        teacher_unit: ``(*, B, dt)``, the teacher's embeddings at length 1.

    >>> anchor_similarities(torch.eye(2), torch.eye(2), 1, select="shared").own.mT
    tensor([[ True, False]])
    """

    student: Tensor
    teacher: Tensor
    anchors: Tensor
    teacher_unit: Tensor

    @property
    def own(self) -> Tensor:
        """``(*, B, k)`` bool, where an anchor is the sample itself; shared anchors only."""
        samples = torch.arange(self.anchors.shape[-2], device=self.anchors.device)
        return self.anchors == rearrange(samples, "b -> b 1")


def anchor_similarities(
    student: Tensor, teacher: Tensor, k: int, *, select: Select, shift: Shift = "none", exclude_self: bool = True
) -> AnchorSimilarities:
    """Similarities of each sample to the anchors that the teacher's structure selects; no B x B matrix is kept.

    Args:
        student: ``(*, B, ds)`` embeddings.
        teacher: ``(*, B, dt)`` embeddings, detached.
        k: anchors per sample.
        select: see :func:`topk_anchors`.
        shift: see :func:`anchor_clouds`.
        exclude_self: exclude a sample from its own anchors.

    >>> kept = anchor_similarities(torch.eye(3), torch.eye(3)[[0, 0, 1]], 1, select="nearest")
    >>> kept.anchors.mT, kept.student.mT, kept.teacher.mT
    (tensor([[1, 0, 0]]), tensor([[0., 0., 0.]]), tensor([[1., 1., 0.]]))
    """
    unit_s, unit_t = unit_rows(student), unit_rows(teacher.detach())
    anchors, x_t = find_anchors(unit_t, k, select=select, exclude_self=exclude_self)
    x_s = similarities_to(unit_s, anchors)
    if shift == "min":
        # The smallest entry of the matrix is among the farthest anchors.
        smallest = x_t.amin((-2, -1), keepdim=True) if select == "farthest" else smallest_similarity(unit_t)
        x_s, x_t = x_s - smallest_similarity(unit_s), x_t - smallest
    return AnchorSimilarities(x_s, x_t, anchors, unit_t)


def anchor_clouds(
    student: Tensor,
    teacher: Tensor,
    k: int,
    *,
    select: Select = "nearest",
    shift: Shift = "none",
    exclude_self: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""Two clouds of B points: the similarities of each sample to its anchors, for student and teacher.

    .. math:: x^S_{ij} = S^S_{i, A_i(j)}, \qquad x^T_{ij} = S^T_{i, A_i(j)}, \qquad A = \text{anchors of } S^T

    Args:
        student: ``(*, B, ds)`` embeddings. The gradient flows into them, also through the shift.
        teacher: ``(*, B, dt)`` embeddings, detached.
        k: anchors per sample, see :func:`topk_anchors`.
        select: which columns are anchors, see :func:`topk_anchors`.
        shift: ``min`` subtracts the smallest entry of each matrix from it, as the published PKDOT code does
            (arXiv 2401.15489). Balanced OT sees the shift in its mean term only.
        exclude_self: exclude a sample from its own anchors.

    Returns:
        The clouds of student and teacher, each ``(*, B, k)``.

    Raises:
        ValueError: batch shapes differ, or a setting is unknown or out of range.

    >>> student, teacher = torch.eye(3), torch.eye(3)[[0, 0, 1]]
    >>> x_student, x_teacher = anchor_clouds(student, teacher, 2)
    >>> x_teacher
    tensor([[1., 0.],
            [1., 0.],
            [0., 0.]])
    """
    if student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ before the last dimension; "
            "expected (*, B, ds) and (*, B, dt)."
        )
    _check_anchors(k, select)
    check_choice("shift", shift, get_args(Shift))
    with torch.autocast(student.device.type, enabled=False):
        kept = anchor_similarities(student, teacher, k, select=select, shift=shift, exclude_self=exclude_self)
    return kept.student, kept.teacher
