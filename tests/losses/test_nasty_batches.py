"""Batches that break formulas: every loss and its gradient stay finite, or an error says in one line why not."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pkdot import losses
from pkdot.losses import LOSSES
from pkdot.losses.base import declared_by
from pkdot.tasks import Task, concordance_loss

BATCHES = 12
"""Seeds of each kind of batch; every loss sees all of them."""

Loss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Of student, teacher, target and which rows are labelled."""


def _spread(low: int, high: int) -> Callable[[Tensor, torch.Generator], Tensor]:
    return lambda z, g: z * 10.0 ** torch.randint(low, high, (len(z), 1), generator=g)


KINDS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "usual": lambda z, _: z,
    "zeros": lambda z, _: 0 * z,
    "constant": lambda z, _: torch.full_like(z, 0.1),
    "duplicates": lambda z, g: z[torch.randint((len(z) + 1) // 2, (len(z),), generator=g)],
    "nearly equal": lambda z, _: 0.1 + 1e-8 * z,
    "far from 0": lambda z, _: z + 1e7,
    "a column of zeros": lambda z, _: torch.cat([0 * z[:, :1], z[:, 1:]], -1),
    "one of many": lambda z, _: 1e4 * torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1]),
    "tiny": lambda z, _: 1e-7 * z,
    "1e20": lambda z, _: 1e20 * z,
    "1e-20": lambda z, _: 1e-20 * z,
    "1e38": lambda z, _: 1e38 * z.clamp(-3, 3),
    "1e-38": lambda z, _: 1e-38 * z,
    "denormal": lambda z, _: 1e-42 * z,
    "the largest": lambda z, _: 3.4e38 * z.sign(),
    "huge beside tiny rows": _spread(-38, 38),
    "tiny rows": _spread(-45, -25),
    "huge beside tiny": lambda z, g: z * 10.0 ** torch.randint(-38, 38, z.shape, generator=g),
    "NaN": lambda z, _: torch.where(torch.arange(len(z)).unsqueeze(-1) == 0, torch.nan, z),
    "infinity": lambda z, _: torch.where(z == z.max(), torch.inf, z),
}
DTYPES = (torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16)


def _module(name: str, **settings: Any) -> Loss:
    def loss(student: Tensor, teacher: Tensor, target: Tensor, labelled: Tensor | None) -> Tensor:
        torch.manual_seed(0)
        batch, width = student.shape
        widths = {"student_width": width, "teacher_width": width} if name in ("vid", "crd") else {}
        sizes = {"samples": batch + 2, "width": 4, "negatives": 5} if name == "crd" else {}
        module = LOSSES[name](**widths, **sizes, **settings)
        module = module.double() if student.dtype == torch.float64 else module
        told = {
            "target": target[:, 0].nan_to_num().clamp(0, 1).long() if name == "dkd" else target,
            "labelled": labelled,
            "index": torch.arange(batch),
            "teacher_prediction": teacher,
            "teachers": torch.stack([target, teacher]),
            "errors": target.abs().mT[[0, 0]],
        }
        with torch.autocast("cpu", torch.bfloat16, enabled=student.dtype.itemsize == 2):
            value: Tensor = module(student, teacher, **{word: told[word] for word in declared_by(module).needs})
        return value

    return loss


def _task(kind: Any, loss: Any, *, units: float | None = None) -> Loss:
    def task_loss(student: Tensor, teacher: Tensor, target: Tensor, labelled: Tensor | None) -> Tensor:
        names = tuple(map(str, range(student.shape[1] + (loss == "corn"))))
        if kind != "regression":
            return Task(kind, ("a",), names, loss).task_loss(student, target.argmax(-1), labelled)
        task = Task(kind, names, (), loss)
        task = task if units is None else task.with_units(units * torch.randn(9, len(names)))
        return task.task_loss(student, target, labelled)

    return task_loss


CASES: dict[str, Loss] = {
    **{name: _module(name) for name in LOSSES},
    "ot, whole rows": _module("ot", topk=1.0),
    "ot, anchors": _module("ot", topk=4, transport="anchors", select="shared"),
    "ot, nearest anchors": _module("ot", topk=4, transport="anchors", select="nearest"),
    "ot, shifted": _module("ot", topk=4, shift="min", select="farthest"),
    "structure-kl, shared": _module("structure-kl", topk=0.5, select="shared"),
    "structure-mse, shifted": _module("structure-mse", shift="min"),
    "kd, sharp": _module("kd", temperature=1.0),
    "mad, by row": _module("mad", per="row"),
    "mad, error": _module("mad", uncertainty="error"),
    "imitation, clamped": _module("imitation", clamp=True),
    "centroid": lambda student, teacher, *_: losses.centroid_loss(student, teacher),
    "concordance": lambda student, _, target, __: concordance_loss(student, target),
    "task: cross-entropy": _task("classification", "cross-entropy"),
    "task: corn": _task("ordinal", "corn"),
    "task: ccc": _task("regression", "ccc"),
    "task: mse": _task("regression", "mse"),
    "task: ccc in small units": _task("regression", "ccc", units=1e-20),
    "task: mse in small units": _task("regression", "mse", units=1e-20),
}
KNOW_NO_SCALE = [
    *("ot", "structure-mse", "structure-kl", "mt-ot", "ccc", "pearson", "cosine", "mmd", "sp", "rkd", "pkt", "cc"),
    *("ot, anchors", "ot, shifted", "centroid", "mad"),
]
"""Losses that have a value however large or small the embeddings are."""


def batches() -> list[tuple[str, Tensor, Tensor, Tensor, Tensor | None]]:
    """A name, a student and a teacher of one kind or of two, a target, and which rows are labelled."""
    made = []
    for kind in KINDS:
        for seed in range(BATCHES):
            generator, draw = torch.Generator().manual_seed(seed), random.Random(f"{kind} {seed}")
            shape = (3, draw.choice([1, 2, 3, 8]), draw.choice([2, 3, 5, 32]))
            z = torch.randn(shape, generator=generator, dtype=torch.float64)
            other, third = draw.choice([kind, *KINDS]), draw.choice(["usual", kind, *KINDS])
            dtype = draw.choice(DTYPES)
            student, teacher, target = (
                KINDS[k](x, generator).to(dtype) for k, x in zip((kind, other, third), z, strict=True)
            )
            labelled = torch.rand(shape[1], generator=generator) < 0.6 if draw.random() < 0.5 else None
            name = f"{kind}, {other}, {third}, {dtype}, seed {seed}"
            made.append((name, student, teacher, target, labelled))
    return made


@pytest.mark.filterwarnings("ignore:Sinkhorn stopped", "ignore:dist has two classes")
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_finite_or_an_error_says_why(name: str) -> None:
    answered = 0
    for batch, student, *rest in batches():
        student.requires_grad_()
        try:
            value, said = CASES[name](student, *rest), ""
        except ValueError as error:
            value, said = torch.zeros(()), str(error)
        if said:
            finite = all(bool(z.isfinite().all()) for z in (student, *rest) if z is not None)
            assert "expected" in said, batch
            assert "\n" not in said, batch
            assert not (finite and name in KNOW_NO_SCALE), f"{batch}: {said}"
            continue
        assert value.isfinite(), batch
        (gradient,) = torch.autograd.grad(value, student)
        assert gradient.isfinite().all(), batch
        answered += 1
    assert answered > BATCHES * len(KINDS) / 3


EMBEDDINGS = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SCALE_FREE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ccc": losses.ccc_loss,
    "concordance": concordance_loss,
    "pearson": losses.pearson_loss,
    "mmd": losses.mmd_loss,
    "sp": losses.sp_loss,
    "rkd": losses.rkd_loss,
    "structure-kl": losses.structure_kl_loss,
    "cosine": losses.cosine_loss,
    "centroid": losses.centroid_loss,
}


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
@pytest.mark.parametrize("name", SCALE_FREE)
def test_a_loss_without_a_unit_is_the_same_at_any_scale_and_its_gradient_goes_with_it(name: str, scale: float) -> None:
    student, teacher = EMBEDDINGS[0].clone().requires_grad_(), EMBEDDINGS[1]
    expected = SCALE_FREE[name](student, teacher)
    (gradient,) = torch.autograd.grad(expected, student)
    scaled = (scale * EMBEDDINGS[0]).float().requires_grad_()
    found = SCALE_FREE[name](scaled, (scale * teacher).float())
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-4, atol=1e-6)
    (slope,) = torch.autograd.grad(found, scaled)
    torch.testing.assert_close(scale * slope.double(), gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


def test_standardised_logits_are_the_same_at_any_scale_above_the_guard_of_their_formula() -> None:
    student, teacher = EMBEDDINGS
    expected = losses.logitstd_loss(student, teacher)
    for scale in (1e3, 1e20, 1e30):
        found = losses.logitstd_loss((scale * student).float(), (scale * teacher).float())
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0)
    # Far below it nothing is left of them.
    assert losses.logitstd_loss((1e-20 * student).float(), (1e-20 * teacher).float()) < 1e-12


def test_the_closest_of_a_tiny_batch_count_as_equal_before_their_angles_overflow() -> None:
    student = torch.tensor([[0.0, 0.0], [1e-38, 0.0], [1e-20, 1e-20]], requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.rkd_loss(student, torch.eye(3)), student)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda z: losses.mse_loss(z, torch.zeros(2, 3)),
            r"^the loss between student up to 1e\+25 and teacher up to 0",
        ),
        (lambda z: losses.hint_loss(torch.ones(2, 3), z), r"teacher up to 1e\+25 is beyond float32; expected smaller"),
        (lambda z: losses.bounded_loss(torch.zeros(2, 3), z, -z), r"student up to 0 and target up to 1e\+25"),
        (lambda z: losses.imitation_loss(torch.zeros(2, 3), torch.ones(2, 3), z), r"teacher up to 1 and target up to"),
        (lambda z: losses.imitation_loss(z, z, torch.inf * z), "target has NaN or infinity in 2 of 2 rows"),
        (lambda z: Task("regression", ("a", "b", "c"), (), "mse").task_loss(z, z - 1e30), r"prediction up to 1e\+25"),
        (lambda z: Task("regression", ("a", "b", "c")).task_loss(z, torch.nan * z), "target has NaN or infinity"),
        (
            lambda z: Task("ordinal", ("a",), tuple("abc")).task_loss(torch.nan * z, torch.tensor([0, 1])),
            "prediction has",
        ),
    ],
)
def test_what_single_precision_cannot_hold_is_named(loss: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(torch.full((2, 3), 1e25))


def test_a_connector_that_overflows_is_named_and_leaves_the_memories_as_they_were() -> None:
    module = losses.CRDLoss(student_width=3, teacher_width=3, samples=2)
    module.embed_teacher.weight.data.fill_(10.0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"teacher up to 1e\+38 is beyond float32"):
        module(torch.ones(2, 3), torch.full((2, 3), 1e38), index=torch.arange(2))
    torch.testing.assert_close(module.state_dict(), before)


def test_a_gradient_beyond_half_precision_is_cut_at_its_end() -> None:
    student, teacher = (1e-6 * EMBEDDINGS[0]).half().requires_grad_(), EMBEDDINGS[1].half()
    (found,) = torch.autograd.grad(losses.cosine_loss(student, teacher), student)
    single = student.detach().float().requires_grad_()
    (expected,) = torch.autograd.grad(losses.cosine_loss(single, teacher.float()), single)
    limit = torch.finfo(torch.float16).max
    assert expected.abs().max() > limit
    torch.testing.assert_close(found, expected.clamp(-limit, limit).half())


def test_the_least_likely_classes_add_nothing_to_an_entropy() -> None:
    logits = torch.tensor([[3e38, -3e38, 0.0], [1.0, 1.0, 1.0]])
    entropies = losses.similarity.prediction_entropy(logits)
    torch.testing.assert_close(entropies, torch.tensor([0.0, 3.0]).log().clamp(min=0))
