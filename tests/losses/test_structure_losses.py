import pytest
import torch
from torch import Tensor

from pkdot import cosine_structure
from pkdot.losses import StructureKLLoss, StructureMSELoss, structure_kl_loss, structure_mse_loss


def embeddings(batch: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(batch, d, generator=generator, dtype=torch.float64) for d in (3, 5))
    return student.requires_grad_(), teacher


def off_diagonal(structure: Tensor) -> Tensor:
    keep = ~torch.eye(len(structure), dtype=torch.bool)
    return structure[keep].reshape(len(structure), -1)


def test_mse_over_all_columns_is_that_of_the_matrices_without_their_diagonals() -> None:
    student, teacher = embeddings()
    expected = torch.nn.functional.mse_loss(*(off_diagonal(cosine_structure(z)) for z in (student, teacher)))
    torch.testing.assert_close(structure_mse_loss(student, teacher), expected)


def test_kl_over_all_columns_equals_torch_kl_div() -> None:
    student, teacher = embeddings()
    log_s, log_t = ((off_diagonal(cosine_structure(z)) / 0.1).log_softmax(-1) for z in (student, teacher))
    expected = torch.nn.functional.kl_div(log_s, log_t, reduction="batchmean", log_target=True)
    torch.testing.assert_close(structure_kl_loss(student, teacher), expected)


def test_kl_over_shared_columns_leaves_each_sample_out_of_its_own_row() -> None:
    student, teacher = embeddings()
    shared = structure_kl_loss(student, teacher, topk=8, select="shared", temperature=0.2)
    rows = []
    structures = cosine_structure(student), cosine_structure(teacher)
    columns = set(range(9)) - {
        # the one column that 8 of 9 leave out
        next(j for j in range(9) if j not in _shared(structures[1]))
    }
    for i in range(9):
        kept = sorted(columns - {i})
        log_s, log_t = ((s[i, kept] / 0.2).log_softmax(-1) for s in structures)
        rows.append((log_t.exp() * (log_t - log_s)).sum())
    torch.testing.assert_close(shared, torch.stack(rows).mean())


def _shared(structure: Tensor) -> list[int]:
    from pkdot import topk_anchors

    return topk_anchors(structure, 8, select="shared")[0].tolist()


@pytest.mark.parametrize("loss", [structure_mse_loss, structure_kl_loss])
def test_structure_losses_pass_gradcheck_and_vanish_on_equal_structures(loss) -> None:  # type: ignore[no-untyped-def]
    student, teacher = embeddings(5)
    assert torch.autograd.gradcheck(lambda z: loss(z, teacher), student)
    torch.testing.assert_close(loss(2 * teacher, teacher), torch.zeros((), dtype=torch.float64))


@pytest.mark.parametrize("module", [StructureMSELoss, StructureKLLoss])
def test_structure_modules_check_settings_and_inputs(module) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="topk is 0"):
        module(topk=0)
    with pytest.raises(ValueError, match="select 'best' is not one of"):
        module(select="best")
    with pytest.raises(ValueError, match="student has shape"):
        module()(torch.ones(3, 2), torch.ones(4, 2))
    alone = torch.ones(1, 2, requires_grad=True)
    assert module()(alone, torch.ones(1, 2)).item() == 0


@pytest.mark.parametrize("module", [StructureMSELoss, StructureKLLoss])
def test_structure_modules_compute_in_float32_under_autocast(module) -> None:  # type: ignore[no-untyped-def]
    student, teacher = (z.detach().bfloat16() for z in embeddings())
    with torch.autocast("cpu", torch.bfloat16):
        loss = module()(student, teacher)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, module()(student.float(), teacher.float()))
