"""Values and gradients of published code, computed once in float64 (see vectors.json), and what we make of them."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pkdot import losses

FILE = json.loads((Path(__file__).parent / "vectors.json").read_text())


def tensor(name: str) -> Tensor:
    values = torch.tensor(FILE["inputs"][name])
    return torch.tensor(FILE["inputs"][name], dtype=torch.float64) if values.is_floating_point() else values


def frobenius(loss: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor) -> Tensor:
    """A mean of squares over B x B as that peer returns it: the root of the sum, over B^2."""
    batch = len(student)
    return (loss(student, teacher) * batch**2).sqrt() / batch**2


def mad(student: Tensor, teacher: Tensor) -> Tensor:
    return losses.MADLoss()(student, teacher, teacher_prediction=tensor("teacher_logits"))


CLOSED_FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kd_T1": partial(losses.kd_loss, temperature=1.0),
    "kd_T4": losses.kd_loss,
    "dkd_T1_a1_b8": partial(losses.dkd_loss, target=tensor("labels"), temperature=1.0),
    "dkd_T4_a1_b8": partial(losses.dkd_loss, target=tensor("labels")),
    "dkd_T4_tckd_only": partial(losses.dkd_loss, target=tensor("labels"), beta=0.0),
    "dkd_T4_nckd_only": partial(losses.dkd_loss, target=tensor("labels"), alpha=0.0, beta=1.0),
    "dist_tau1": losses.dist_loss,
    "dist_tau4": partial(losses.dist_loss, temperature=4.0),
    "dist_relation_no_softmax_reg": losses.pearson_loss,
    "dist_intra_embed": losses.pearson_loss,
    "logit_std_kd_torchdistill_T2": losses.logitstd_loss,
    "reg_mse": losses.mse_loss,
    "formula_ccc_distill": losses.ccc_loss,
    "formula_teacher_bounded": partial(losses.bounded_loss, target=tensor("target_reg")),
    "formula_attentive_imitation": partial(losses.imitation_loss, target=tensor("target_reg")),
    "hint_mse_embed": losses.hint_loss,
    "cosine_embed": losses.cosine_loss,
    "mmd_rbf_mtpkdot": losses.mmd_loss,
    "sp_embed": losses.sp_loss,
    "sp_embed_dims_differ": losses.sp_loss,
    "rkd_embed": losses.rkd_loss,
    "rkd_embed_dims_differ": losses.rkd_loss,
    "rkd_distance_only": partial(losses.rkd_loss, distance=1.0, angle=0.0),
    "rkd_angle_only": partial(losses.rkd_loss, distance=0.0, angle=1.0),
    "pkt_embed": losses.pkt_loss,
    "pkt_embed_dims_differ": losses.pkt_loss,
    "cc_torchdistill_gaussian_g0.4_p2": partial(frobenius, losses.cc_loss),
    "mad_mmanet": mad,
}


def assert_agrees(name: str, loss: Tensor, student: Tensor) -> None:
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(FILE["vectors"][name]["loss"], rel=1e-6, abs=1e-6)
    assert gradient.norm().item() == pytest.approx(FILE["vectors"][name]["grad_norm"], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_loss_and_gradient_are_the_published_ones(name: str) -> None:
    vector = FILE["vectors"][name]
    student, teacher = tensor(vector["student"]).requires_grad_(), tensor(vector["teacher"])
    assert_agrees(name, CLOSED_FORMS[name](student, teacher), student)


def test_vid_with_its_learned_parts_is_the_published_one() -> None:
    student, teacher = tensor("student").requires_grad_(), tensor("teacher")
    module = losses.VIDLoss(student_width=5, teacher_width=5, hidden=4).double()
    linear = [layer for layer in module.mean if isinstance(layer, torch.nn.Linear)]
    for layer, name in zip(linear, ("vid_w0", "vid_w1", "vid_w2"), strict=True):
        layer.weight.data = tensor(name)
    assert_agrees("vid_embed", module(student, teacher), student)


def test_crd_with_its_memories_is_the_published_one_in_both_calls() -> None:
    student, teacher = tensor("student").requires_grad_(), tensor("teacher")
    module = losses.CRDLoss(student_width=5, teacher_width=5, samples=10, width=4, negatives=3).double()
    module.embed_student.weight.data, module.embed_student.bias.data = tensor("crd_embed_s_w"), tensor("crd_embed_s_b")
    module.embed_teacher.weight.data, module.embed_teacher.bias.data = tensor("crd_embed_t_w"), tensor("crd_embed_t_b")
    module.student_memory, module.teacher_memory = tensor("crd_mem1"), tensor("crd_mem2")
    index, contrast = tensor("crd_idx"), tensor("crd_contrast_idx")
    assert contrast[:, 0].tolist() == index.tolist()
    for name in ("crd_first_call", "crd_second_call"):
        assert_agrees(name, module(student, teacher, index=index, negatives=contrast[:, 1:]), student)
