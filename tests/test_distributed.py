import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pkdot import losses
from pkdot.distributed import gather_with_gradient, is_distributed
from pkdot.losses import OTDistillLoss, StructureKLLoss, StructureMSELoss

SHARES = {"even": (4, 4), "uneven": (5, 3), "empty": (8, 0)}
LOSSES: dict[str, torch.nn.Module] = {
    "rows": OTDistillLoss(topk=3, tol=1e-7),
    "anchors": OTDistillLoss(topk=3, select="shared", transport="anchors", blur=0.3, tol=1e-7),
    "mse": StructureMSELoss(),
    "kl": StructureKLLoss(),
    "sp": losses.SPLoss(),
    "rkd": losses.RKDLoss(),
    "pkt": losses.PKTLoss(),
    "cc": losses.CCLoss(),
}
EQUAL_WIDTHS: dict[str, torch.nn.Module] = {
    "mmd": losses.MMDLoss(),
    "dist": losses.DISTLoss(),
    "pearson": losses.PearsonLoss(),
    "ccc": losses.CCCLoss(),
}
TOLD_MORE = ("mad", "mt-ot", "crd")


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight, features, teacher = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((4, 4), (8, 4), (8, 6))
    )
    return weight, features, teacher


def gradients(start: int, stop: int) -> dict[str, torch.Tensor]:
    """Gradient of each loss in the weight of a linear student, from these rows and those of the other processes."""
    weight, features, teacher = inputs()
    weight.requires_grad_()
    found = {}
    for name, loss in LOSSES.items():
        value = loss(features[start:stop] @ weight, teacher[start:stop])
        found[name] = torch.autograd.grad(value, weight)[0]
    for name, loss in EQUAL_WIDTHS.items():
        value = loss(features[start:stop] @ weight, teacher[start:stop, :4])
        found[name] = torch.autograd.grad(value, weight)[0]
    return found | told_more(weight, features, teacher, slice(start, stop))


def told_more(
    weight: torch.Tensor, features: torch.Tensor, teacher: torch.Tensor, rows: slice
) -> dict[str, torch.Tensor]:
    """The same of the losses that need more than two embeddings."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    others = torch.randn(2, 8, 6, generator=generator, dtype=torch.float64)
    errors, labelled = torch.rand(2, 8, generator=generator), torch.arange(8) % 3 > 0
    torch.manual_seed(2)  # the same memories and negatives in every process
    crd = losses.CRDLoss(student_width=4, teacher_width=6, samples=8, width=3, negatives=5).double()
    student = features[rows] @ weight
    values = {
        "mad": losses.MADLoss()(student, teacher[rows], teacher_prediction=logits[rows]),
        "mt-ot": losses.MultiTeacherOTLoss(choice="sample", topk=3, tol=1e-7)(
            student, teacher[rows], teachers=others[:, rows], errors=errors[:, rows], labelled=labelled[rows]
        ),
        "crd": crd(student, teacher[rows], index=torch.arange(8)[rows]),
    }
    return {name: torch.autograd.grad(value, weight, retain_graph=True)[0] for name, value in values.items()}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results: dict[str, Any] = {"gathered": gather_with_gradient(torch.full((rank + 1, 2), float(rank)))}
    for share, rows in SHARES.items():
        start = sum(rows[:rank])
        local = gradients(start, start + rows[rank])
        for gradient in local.values():  # what DDP does with the gradients of its processes
            dist.all_reduce(gradient)
            gradient /= 2
        results[share] = local
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads can abort an interpreter that is shutting down, long after the work is done


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_rows_come_in_the_order_of_the_ranks(two_processes: list[dict[str, Any]]) -> None:
    for results in two_processes:
        assert results["gathered"].tolist() == [[0, 0], [1, 1], [1, 1]]


@pytest.mark.parametrize("loss", [*LOSSES, *EQUAL_WIDTHS, *TOLD_MORE])
@pytest.mark.parametrize("share", SHARES)
def test_mean_gradient_of_two_processes_is_that_of_one(
    share: str, loss: str, two_processes: list[dict[str, Any]]
) -> None:
    expected = gradients(0, 8)[loss]
    for results in two_processes:
        torch.testing.assert_close(results[share][loss], expected, rtol=1e-9, atol=1e-12)


def test_alone_nothing_is_gathered() -> None:
    tensor = torch.ones(2, 3)
    assert not is_distributed()
    assert gather_with_gradient(tensor) is tensor
