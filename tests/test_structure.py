from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pkdot import anchor_clouds, cosine_structure, topk_anchors
from pkdot.ranking import columns_at_ranks
from pkdot.structure import row_blocks


def embeddings(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_structure_equals_torch_cosine_similarity() -> None:
    z = embeddings(2, 7, 5)
    expected = torch.nn.functional.cosine_similarity(z.unsqueeze(-2), z.unsqueeze(-3), dim=-1)
    torch.testing.assert_close(cosine_structure(z), expected)


def test_structure_passes_gradcheck() -> None:
    assert torch.autograd.gradcheck(cosine_structure, embeddings(4, 3).requires_grad_())


def test_zero_rows_have_zero_similarity_and_zero_gradient() -> None:
    z = embeddings(5, 3)
    z[2] = 0
    z.requires_grad_()
    structure = cosine_structure(z)
    structure.square().sum().backward()
    assert not structure[2].any()
    assert not structure[:, 2].any()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert not z.grad[2].any()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_size_of_embeddings_does_not_matter(size: float) -> None:
    z = embeddings(5, 3).float()
    torch.testing.assert_close(cosine_structure(z * size), cosine_structure(z))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_under_autocast(dtype: torch.dtype) -> None:
    z = embeddings(6, 4).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        structure = cosine_structure(z)
    assert structure.dtype == torch.float32
    torch.testing.assert_close(structure, cosine_structure(z.float()))


def test_structure_rejects_a_vector() -> None:
    with pytest.raises(ValueError, match=r"\(5,\); expected \(\*, B, d\)"):
        cosine_structure(torch.ones(5))


def sorted_row(row: torch.Tensor, own: int | None, descending: bool) -> list[int]:
    columns = [j for j in range(len(row)) if j != own]
    return sorted(columns, key=lambda j: (-row[j].item() if descending else row[j].item(), j))


@pytest.mark.parametrize("exclude_self", [True, False])
@pytest.mark.parametrize("k", [1, 3, 6, 100])
def test_anchors_equal_a_sorted_list_of_each_row(k: int, exclude_self: bool) -> None:
    structure = cosine_structure(embeddings(3, 7, 4)).mul(4).round()  # rounding makes ties
    for batch in range(3):
        for i in range(7):
            row, own = structure[batch, i], i if exclude_self else None
            nearest, farthest = sorted_row(row, own, True), sorted_row(row, own, False)
            count = min(k, len(nearest))
            ranks = [j * (len(nearest) - 1) // max(count - 1, 1) for j in range(count)]
            for select, expected in (
                ("nearest", nearest[:count]),
                ("farthest", farthest[:count]),
                ("stratified", [nearest[r] for r in ranks]),
            ):
                anchors = topk_anchors(structure, k, select=select, exclude_self=exclude_self)
                assert anchors.dtype == torch.int64
                assert anchors[batch, i].tolist() == expected, select


@pytest.mark.parametrize("k", [1, 3, 6])
def test_shared_anchors_are_one_increasing_set_of_columns_for_all_rows(k: int) -> None:
    structure = cosine_structure(embeddings(2, 7, 4))
    anchors = topk_anchors(structure, k, select="shared")
    assert anchors.shape == (2, 7, k)
    assert (anchors == anchors[:, :1]).all()
    assert (anchors.diff(dim=-1) > 0).all()


def test_stratified_anchors_span_the_row() -> None:
    anchors = topk_anchors(cosine_structure(embeddings(9, 4)), 3, select="stratified")
    assert anchors[:, 0].equal(topk_anchors(cosine_structure(embeddings(9, 4)), 1)[:, 0])
    assert anchors[:, -1].equal(topk_anchors(cosine_structure(embeddings(9, 4)), 1, select="farthest")[:, 0])


@pytest.mark.parametrize("select", ["nearest", "farthest", "stratified", "shared"])
def test_permuting_the_batch_permutes_the_anchors(select: str) -> None:
    structure = cosine_structure(embeddings(8, 5))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    permuted = topk_anchors(structure[order][:, order], 4, select=select)  # type: ignore[arg-type]
    expected = topk_anchors(structure, 4, select=select)[order]  # type: ignore[arg-type]
    back = order[permuted]
    if select == "shared":
        back, expected = back.sort().values, expected.sort().values
    assert back.equal(expected)


def test_one_sample_has_no_anchor_but_itself() -> None:
    assert topk_anchors(torch.ones(1, 1), 3).shape == (1, 0)
    assert topk_anchors(torch.ones(1, 1), 3, exclude_self=False).tolist() == [[0]]


@pytest.mark.parametrize(
    ("structure", "k", "select", "message"),
    [
        (torch.ones(3, 4), 1, "nearest", r"\(3, 4\); expected \(\*, B, B\)"),
        (torch.ones(3, 3), 0, "nearest", "k is 0; expected a whole number"),
        (torch.ones(3, 3), 0.5, "nearest", "k is 0.5; expected a whole number"),
        (torch.ones(3, 3), 1, "closest", "select 'closest' is not one of nearest"),
    ],
)
def test_bad_arguments_of_anchors_say_what_was_expected(
    structure: torch.Tensor, k: int, select: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        topk_anchors(structure, k, select=select)  # type: ignore[arg-type]


def test_clouds_hold_the_similarities_to_the_teachers_anchors() -> None:
    student, teacher = embeddings(2, 6, 3), embeddings(2, 6, 5, seed=1)
    x, y = anchor_clouds(student, teacher, 3, select="farthest")
    anchors = topk_anchors(cosine_structure(teacher), 3, select="farthest")
    assert x.equal(cosine_structure(student).gather(-1, anchors))
    assert y.equal(cosine_structure(teacher).gather(-1, anchors))


def test_min_shift_starts_each_matrix_at_zero_and_carries_gradient() -> None:
    student, teacher = embeddings(2, 6, 3).requires_grad_(), embeddings(2, 6, 5, seed=1)
    x, y = anchor_clouds(student, teacher, 6, exclude_self=False, shift="min")
    for cloud in (x, y):
        torch.testing.assert_close(cloud.amin((-2, -1)), torch.zeros(2, dtype=torch.float64))
    (moved,) = torch.autograd.grad(x.sum(), student, retain_graph=True)
    still = anchor_clouds(student, teacher, 6, exclude_self=False)[0]
    assert not torch.allclose(moved, torch.autograd.grad(still.sum(), student)[0])


def test_words_need_not_be_the_very_objects_of_the_source() -> None:
    student, teacher = embeddings(6, 3), embeddings(6, 3, seed=1)
    read: dict[str, Any] = {"shift": "".join(["mi", "n"]), "select": "".join(["far", "thest"])}
    torch.testing.assert_close(
        anchor_clouds(student, teacher, 2, **read), anchor_clouds(student, teacher, 2, shift="min", select="farthest")
    )


def test_teacher_gets_no_gradient_from_clouds() -> None:
    teacher = embeddings(4, 3).requires_grad_()
    assert not anchor_clouds(embeddings(4, 3, seed=1), teacher, 2)[1].requires_grad


def test_clouds_reject_batches_that_differ() -> None:
    with pytest.raises(ValueError, match=r"student \(4, 3\) and teacher \(5, 3\)"):
        anchor_clouds(torch.ones(4, 3), torch.ones(5, 3), 2)
    with pytest.raises(ValueError, match="shift 'max' is not one of none, min"):
        anchor_clouds(torch.ones(4, 3), torch.ones(4, 3), 2, shift="max")  # type: ignore[arg-type]


@given(batch=st.integers(2, 9), k=st.integers(1, 12), seed=st.integers(0, 1000))
def test_anchors_are_distinct_and_never_the_sample_itself(batch: int, k: int, seed: int) -> None:
    structure = cosine_structure(embeddings(batch, 3, seed=seed))
    for select in ("nearest", "farthest", "stratified"):
        for i, row in enumerate(topk_anchors(structure, k, select=select).tolist()):  # type: ignore[arg-type]
            assert len(set(row)) == min(k, batch - 1)
            assert i not in row


@pytest.mark.parametrize("entries", [1, 40, 2**22])
@pytest.mark.parametrize("shift", ["none", "min"])
@pytest.mark.parametrize("select", ["nearest", "farthest", "stratified", "shared"])
def test_clouds_made_in_blocks_equal_those_cut_from_the_whole_matrices(
    select: str, shift: str, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = embeddings(2, 9, 5).requires_grad_(), embeddings(2, 9, 4, seed=1)
    teacher[0, 3] = teacher[0, 4]
    student_s, structure_t = cosine_structure(student), cosine_structure(teacher)
    anchors = topk_anchors(structure_t, 3, select=select)
    if shift == "min":
        student_s, structure_t = (z - z.amin((-2, -1), keepdim=True) for z in (student_s, structure_t))
    expected = student_s.gather(-1, anchors)
    weights = embeddings(2, 9, 3, seed=2)
    (gradient,) = torch.autograd.grad((expected * weights).sum(), student)

    monkeypatch.setattr("pkdot.structure._BLOCK_ENTRIES", entries)
    x, y = anchor_clouds(student, teacher, 3, select=select, shift=shift)
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(y, structure_t.gather(-1, anchors))
    torch.testing.assert_close(torch.autograd.grad((x * weights).sum(), student)[0], gradient)


def test_rows_are_cut_into_blocks_that_hold_as_many_entries_as_may_be_held_at_once() -> None:
    def sizes(*shape: int, per_row: int, entries: int) -> list[int]:
        blocks = list(row_blocks(torch.zeros(shape), per_row, entries))
        assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(shape[-2]))
        return [block.stop - block.start for block in blocks]

    assert sizes(7, 3, per_row=10, entries=40) == [4, 3]
    assert sizes(5, 7, 3, per_row=4, entries=40) == [2, 2, 2, 1]
    assert sizes(2, 5, 7, 3, per_row=2, entries=40) == [2, 2, 2, 1]
    assert sizes(3, 3, per_row=10, entries=1) == [1, 1, 1]


def test_equal_candidates_are_taken_in_the_order_of_their_indices() -> None:
    structure = torch.tensor([[1.0, 0.5, 0.5, 0.9, 0.5], [0.2, 1.0, 0.2, 0.2, 0.2]]).repeat(3, 1)[:5]
    assert topk_anchors(structure, 3)[0].tolist() == [3, 1, 2]
    assert topk_anchors(structure, 4)[1].tolist() == [0, 2, 3, 4]
    assert topk_anchors(structure, 2, select="farthest")[1].tolist() == [0, 2]


@pytest.mark.parametrize("shape", [(0, 5), (3, 1), (40, 17), (2, 30, 30), (600, 600)])
def test_columns_at_ranks_are_those_of_a_stable_sort(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul(4).round() / 4
    values = torch.where(values == 0, -0.0 * values.sign() - 0.0, values)
    values.reshape(-1)[: values.numel() // 7] = -torch.inf
    ranks = torch.arange(0, shape[-1], 2)
    expected = values.sort(descending=True, stable=True).indices[..., ranks]
    assert torch.equal(columns_at_ranks(values, ranks), expected)
    assert torch.equal(columns_at_ranks(values.double(), ranks), expected)
