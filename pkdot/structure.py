"""The structure of a batch: who resembles whom, by whom a sample is described, and the clouds that OT compares."""

import functools
import warnings
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from pkdot.precision import at_least_float32, in_range
from pkdot.ranking import columns_at_ranks

Select = Literal["nearest", "farthest", "stratified", "shared"]
Shift = Literal["none", "min"]

# Lengths whose squares are in the range of single precision.
_SHORTEST, _LONGEST = 1e-15, 1e15
# Entries of a structure matrix that are held at once.
_BLOCK_ENTRIES = 2**21


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
    """Rows of ``(*, B, d)`` scaled to length 1, in float32 at least; zero rows stay zero and get no gradient.

    A row so short that its gradient would overflow counts as zero: see :func:`pkdot.precision.smallest_size`.
    """
    z = at_least_float32(z)
    if not z.numel():
        return z
    length = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    if torch.compiler.is_compiling() or not _squares_fit(length):
        # Scaling by the largest entry first keeps the squares of huge and of tiny rows in range; directions stay.
        z = in_range(z, z.detach().abs().amax(-1, keepdim=True))
        length = torch.linalg.vector_norm(torch.where((z == 0).all(-1, keepdim=True), 1.0, z), dim=-1, keepdim=True)
    unit: Tensor = z / length
    return unit


def distances(z: Tensor) -> Tensor:
    """Euclidean distances ``(*, B, B)`` between rows of ``(*, B, d)``; equal rows are at 0 and get no gradient."""
    # Without the expansion into inner products, which loses small distances to rounding.
    return torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")


def _squares_fit(length: Tensor) -> bool:
    shortest, longest = length.detach().aminmax()
    return float(shortest) > _SHORTEST and float(longest) < _LONGEST


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
    _check_choice_of_anchors(k, select)
    structure = structure.detach()
    batch = structure.shape[-1]
    candidates = batch - 1 if exclude_self else batch
    k = min(k, candidates)
    if select == "shared":
        means = structure.masked_fill(torch.eye(batch, dtype=torch.bool, device=structure.device), 0.0).sum(-2)
        return _shared_columns(means, k).expand(*structure.shape[:-1], k).contiguous()
    return _rank(structure, 0, k, select, exclude_self=exclude_self)


def find_anchors(unit: Tensor, k: int, *, select: Select, exclude_self: bool = True) -> tuple[Tensor, Tensor]:
    """:func:`topk_anchors` of the structure of unit rows, without holding more than some rows of it. No gradient.

    Args:
        unit: ``(*, B, d)`` rows of length 1 or 0, see :func:`unit_rows`.
        k: anchors per row, at most the number of candidates.
        select: which columns are anchors.
        exclude_self: leave a sample out of its own anchors.

    Returns:
        int64 ``(*, B, k)`` anchors, and the ``(*, B, k)`` similarities to them.
    """
    unit = unit.detach()
    k = min(k, unit.shape[-2] - 1 if exclude_self else unit.shape[-2])
    if select == "shared":
        means = sum(
            _without_own(unit[..., rows, :] @ unit.mT, rows.start, 0.0).sum(-2)
            for rows in row_blocks(unit, unit.shape[-2])
        )
        columns = _shared_columns(torch.as_tensor(means), k)
        shared = unit.gather(-2, columns.mT.expand(*unit.shape[:-2], k, unit.shape[-1]))
        return columns.expand(*unit.shape[:-1], k).contiguous(), unit @ shared.mT
    found = []
    for rows in row_blocks(unit, unit.shape[-2]):
        structure = unit[..., rows, :] @ unit.mT
        anchors = _rank(structure, rows.start, k, select, exclude_self=exclude_self, in_place=True)
        found.append((anchors, structure.gather(-1, anchors)))
    anchors, similarities = (torch.cat(part, dim=-2) for part in zip(*found, strict=True))
    return anchors, similarities


def similarities_to(unit: Tensor, anchors: Tensor) -> Tensor:
    r"""Entries :math:`S_{i, A_i(j)}` of the structure of unit rows, which is never formed, nor in the backward pass.

    The gradient is scattered to both rows that an entry compares, and is of first order.

    Args:
        unit: ``(*, B, d)`` rows of length 1 or 0, see :func:`unit_rows`.
        anchors: int64 ``(*, B, k)``, different within a row.

    Returns:
        ``(*, B, k)`` similarities.
    """
    if torch.compiler.is_compiling():
        return (unit @ unit.mT).gather(-1, anchors)
    # All problems as one, with the columns of each behind those of the one before.
    problems = unit.shape[:-2].numel()
    offsets = torch.arange(problems, device=unit.device).reshape(*unit.shape[:-2], 1, 1) * unit.shape[-2]
    columns = (anchors + offsets if problems > 1 else anchors).reshape(-1, anchors.shape[-1])
    entries: Tensor = _Entries.apply(unit.reshape(-1, unit.shape[-1]), columns)  # type: ignore[no-untyped-call]
    return entries.reshape(anchors.shape)


def smallest_similarity(unit: Tensor) -> Tensor:
    """``(*, 1, 1)``, the smallest entry of the structure of ``(*, B, d)`` unit rows; one pair gets the gradient."""
    if torch.compiler.is_compiling():
        return (unit @ unit.mT).amin((-2, -1), keepdim=True)
    with torch.no_grad():
        # The structure is symmetric: what stands left of a block of rows has been seen above it.
        minima = [
            (unit[..., rows, :] @ unit[..., rows.start :, :].mT).amin(-1) for rows in row_blocks(unit, unit.shape[-2])
        ]
        first = torch.cat(minima, dim=-1).argmin(-1)
        second = (_row(unit, first) @ unit.mT).argmin(-1).squeeze(-1)
    return (_row(unit, first) * _row(unit, second)).sum(-1, keepdim=True)


def _row(unit: Tensor, place: Tensor) -> Tensor:
    """``(*, B, d)`` and ``(*)`` to ``(*, 1, d)``."""
    return unit.gather(-2, place[..., None, None].expand(*place.shape, 1, unit.shape[-1]))


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
        # The transpose: for each anchor, the rows that have it.
        order = anchors.flatten().argsort(stable=True)
        starts = torch.searchsorted(anchors.flatten()[order], torch.arange(len(unit), device=unit.device))
        rows, weights = order // anchors.shape[1], upstream.flatten()[order]
        return to_rows + embedding_bag(rows, unit, starts, per_sample_weights=weights, mode="sum"), None


@functools.cache
def _make_sparse_tensors_quietly() -> None:
    """Have torch say once, unheard, that its compressed sparse tensors are in beta state."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([], dtype=torch.int64), torch.tensor([]), (1, 1))


def row_blocks(z: Tensor, per_row: int, entries: int = _BLOCK_ENTRIES) -> Iterator[slice]:
    """Slices of the rows of ``(*, B, d)`` for which about so many ``entries`` are held, ``per_row`` of them a row."""
    batch = z.shape[-2]
    step = max(1, entries // max(1, per_row * z.shape[:-2].numel()))
    return (slice(first, min(first + step, batch)) for first in range(0, batch, step))


def _without_own(structure: Tensor, first: int, value: float) -> Tensor:
    """Some rows of a structure matrix, from ``first`` on, with ``value`` for a row's similarity to itself."""
    structure.diagonal(first, dim1=-2, dim2=-1).fill_(value)
    return structure


def _shared_columns(sums: Tensor, k: int) -> Tensor:
    rank = sums.sort(descending=True, stable=True).indices
    return rank[..., _evenly_spaced(k, sums.shape[-1], rank.device)].sort().values.unsqueeze(-2)


def _rank(
    structure: Tensor, first: int, k: int, select: Select, *, exclude_self: bool, in_place: bool = False
) -> Tensor:
    """The anchors of some rows of a structure matrix, from ``first`` on; ``in_place`` their own entries may change."""
    largest = select != "farthest"
    candidates = structure.shape[-1]
    if exclude_self:
        structure = structure if in_place else structure.clone()
        structure = _without_own(structure, first, -torch.inf if largest else torch.inf)
        candidates -= 1
    if select == "stratified":
        return columns_at_ranks(structure, _evenly_spaced(k, candidates, structure.device))
    if not torch.compiler.is_compiling():
        values, anchors = structure.topk(min(k + 1, structure.shape[-1]), largest=largest)
        if not bool((values[..., k - 1 : k] == values[..., k:]).any()):
            anchors = anchors[..., :k].sort().values
            order = structure.gather(-1, anchors).sort(descending=largest, stable=True).indices
            return anchors.gather(-1, order)
    # Of equal candidates those with the smaller index, which topk does not promise.
    return structure.sort(descending=largest, stable=True).indices[..., :k].contiguous()


def _check_choice_of_anchors(k: int, select: str) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k is {k!r}; expected a whole number of at least 1.")
    if select not in get_args(Select):
        raise ValueError(f"select is {select!r}; expected one of {', '.join(get_args(Select))}.")


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
    _check_choice_of_anchors(k, select)
    if shift not in get_args(Shift):
        raise ValueError(f"shift is {shift!r}; expected one of {', '.join(get_args(Shift))}.")
    with torch.autocast(student.device.type, enabled=False):
        unit_s, unit_t = unit_rows(student), unit_rows(teacher.detach())
        _, x_s, x_t = described_by_anchors(unit_s, unit_t, k, select=select, shift=shift, exclude_self=exclude_self)
    return x_s, x_t


def described_by_anchors(
    student: Tensor, teacher: Tensor, k: int, *, select: Select, shift: Shift, exclude_self: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """The anchors, and the clouds of :func:`anchor_clouds`, from unit rows; no B x B matrix is kept."""
    anchors, x_t = find_anchors(teacher, k, select=select, exclude_self=exclude_self)
    x_s = similarities_to(student, anchors)
    if shift == "min":
        # The farthest anchors have the smallest similarity among them.
        smallest = x_t.amin((-2, -1), keepdim=True) if select == "farthest" else smallest_similarity(teacher)
        x_s, x_t = x_s - smallest_similarity(student), x_t - smallest
    return anchors, x_s, x_t
