"""The whole loss from embeddings, forward and backward: as published, and as pkdot computes it."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from benchmarks.sinkhorn.clouds import BLUR, Case, embeddings
from pkdot.losses import OTDistillLoss
from pkdot.transport.divergence import BACKENDS

SHAPES = ((1, 128, 8), (1, 512, 30), (1, 2048, 30))
PUBLISHED = "published code"

Loss = Callable[[Tensor, Tensor], Tensor]


def loss_steps(case: Case, device: str = "cpu") -> dict[str, Callable[[], None]]:
    """Each loss's step to the gradient of the student's ``(B, 512)`` embeddings, with ``k`` anchors."""
    student, teacher = (z[0].to(device) for z in embeddings(case))
    student.requires_grad_()
    losses: dict[str, Loss] = {}
    if find_spec("geomloss") is not None:
        losses[PUBLISHED] = published_loss(case.dimension)
    for backend in BACKENDS:
        if backend == "auto":
            continue
        released = replace(OTDistillLoss.released().settings, topk=case.dimension, backend=backend)
        losses[f"pkdot {backend}, as released"] = OTDistillLoss(**vars(released))
        for select in ("nearest", "stratified"):
            losses[f"pkdot {backend}, {select}"] = OTDistillLoss(topk=case.dimension, select=select, backend=backend)

    def step(loss: Loss) -> Callable[[], None]:
        def run() -> None:
            torch.autograd.grad(loss(student, teacher), student)
            if student.is_cuda:
                torch.cuda.synchronize()

        return run

    return {name: step(loss) for name, loss in losses.items() if _runs(loss, device)}


def _runs(loss: Loss, device: str) -> bool:
    try:
        loss(*(z[0].to(device) for z in embeddings(Case(1, 40, 1))))
    except (ValueError, RuntimeError):
        return False
    return True


def published_loss(k: int) -> Loss:
    """The released PKDOT step: both matrices shifted by their smallest entry, each row's k farthest, in no order."""
    from geomloss import SamplesLoss

    divergence = SamplesLoss(loss="sinkhorn", p=2, blur=BLUR)

    def similarities(z: Tensor) -> Tensor:
        lengths = z.norm(dim=1, keepdim=True)
        matrix: Tensor = z @ z.T / (lengths @ lengths.T)
        return matrix

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        of_teacher, of_student = similarities(teacher), similarities(student)
        farthest = np.argpartition(of_teacher.detach().cpu().numpy(), k, axis=1)[:, :k]
        columns = torch.from_numpy(farthest).to(student.device)
        clouds = ((matrix - matrix.min()).gather(1, columns) for matrix in (of_teacher, of_student))
        value: Tensor = divergence(*clouds)
        return value

    return loss
