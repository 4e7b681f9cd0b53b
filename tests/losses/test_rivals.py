"""What every rival loss has to do, and the hazards that are measured in published code."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from pkdot import losses

Loss = Callable[[Tensor, Tensor], Tensor]

LABELS = torch.tensor([0, 2, 1, 1, 0, 2, 3])
VALUES = torch.randn(7, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

EQUAL_WIDTHS: dict[str, Loss] = {
    "kd": losses.kd_loss,
    "logitstd": losses.logitstd_loss,
    "dkd": lambda s, t: losses.dkd_loss(s, t, LABELS[: len(s)]),
    "dist": losses.dist_loss,
    "pearson": losses.pearson_loss,
    "mse": losses.mse_loss,
    "ccc": losses.ccc_loss,
    "imitation": lambda s, t: losses.imitation_loss(s, t, VALUES[: len(s)]),
    "hint": losses.hint_loss,
    "cosine": losses.cosine_loss,
    "mmd": losses.mmd_loss,
}
RELATIONS: dict[str, Loss] = {
    "sp": losses.sp_loss,
    "rkd": losses.rkd_loss,
    "pkt": losses.pkt_loss,
    "cc": losses.cc_loss,
    "mad": lambda s, t: losses.mad_loss(s, t, torch.arange(1.0, len(s) + 1)),
    "centroid": losses.centroid_loss,
}
ALL = EQUAL_WIDTHS | RELATIONS | {"bounded": lambda s, t: losses.bounded_loss(s, t, VALUES[: len(s)])}


def pair(batch: int = 7, student: int = 4, teacher: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(batch, width, generator=generator, dtype=torch.float64) for width in (student, teacher)]
    return made[0].requires_grad_(), made[1]


@pytest.mark.parametrize("name", EQUAL_WIDTHS | RELATIONS)
def test_distilling_from_itself_costs_nothing(name: str) -> None:
    _, teacher = pair()
    student = teacher.clone().requires_grad_()
    loss = ALL[name](student, teacher)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, student)
    # A cosine has its least value there up to rounding, a norm of differences has no slope at 0.
    assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("name", ALL)
def test_gradients_pass_gradcheck_and_the_teacher_gets_none(name: str) -> None:
    student, teacher = pair(5)
    teacher.requires_grad_()
    if name != "mmd":  # its bandwidth is a constant to the gradient; see test_vectors.py
        assert torch.autograd.gradcheck(lambda z: ALL[name](z, teacher), student)
    ALL[name](student, teacher).backward()
    assert teacher.grad is None


TOLD_MORE: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], Tensor]] = {
    "dkd": (losses.dkd_loss, LABELS),
    "imitation": (losses.imitation_loss, VALUES),
    "bounded": (losses.bounded_loss, VALUES),
    "mad": (losses.mad_loss, torch.arange(1.0, 8.0)),
}


@pytest.mark.parametrize("name", [name for name in ALL if name not in TOLD_MORE])
def test_the_order_of_the_samples_does_not_matter(name: str) -> None:
    student, teacher = pair()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ALL[name](student[order], teacher[order]), ALL[name](student, teacher))


@pytest.mark.parametrize("name", TOLD_MORE)
def test_nor_does_it_where_labels_or_weights_are_permuted_along(name: str) -> None:
    loss, told = TOLD_MORE[name]
    student, teacher = pair()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(student[order], teacher[order], told[order]), loss(student, teacher, told))


@pytest.mark.parametrize("name", RELATIONS)
def test_relations_take_any_two_widths_and_see_no_rotation(name: str) -> None:
    student, teacher = pair(student=3, teacher=6)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64))[0]
    expected = RELATIONS[name](student, teacher)
    assert expected > 0
    torch.testing.assert_close(RELATIONS[name](student, teacher @ rotation), expected)
    torch.testing.assert_close(RELATIONS[name](student, 7 * teacher), expected)


@pytest.mark.parametrize("name", ["rkd"])
def test_distances_and_angles_see_no_offset(name: str) -> None:
    student, teacher = pair()
    torch.testing.assert_close(ALL[name](student + 3, teacher), ALL[name](student, teacher))


def test_correlation_sees_neither_scale_nor_offset_and_concordance_both() -> None:
    student, teacher = pair()
    torch.testing.assert_close(losses.pearson_loss(5 * student - 2, teacher), losses.pearson_loss(student, teacher))
    assert losses.ccc_loss(5 * student, teacher) != losses.ccc_loss(student, teacher)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_the_smallest_batches_have_a_finite_loss_and_gradient(name: str, batch: int) -> None:
    student, teacher = pair(batch)
    loss = ALL[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", ["zeros", "equal", "huge", "one zero row", "duplicates"])
def test_degenerate_students_have_a_finite_loss_and_gradient(name: str, value: str) -> None:
    student, teacher = (z.detach().float() for z in pair())
    match value:
        case "zeros":
            student = torch.zeros_like(student)
        case "equal":
            student = torch.full_like(student, 0.1)
        case "huge":
            student = 1e4 * student
        case "one zero row":
            student[3] = 0
        case "duplicates":
            student[3] = student[5]
            teacher[3] = teacher[5]
    student.requires_grad_()
    loss = ALL[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    # Published code reaches 1e12 where two rows are equal.
    assert gradient.abs().max() < (1e9 if value == "huge" else 1e4)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_also_under_autocast(name: str, dtype: torch.dtype) -> None:
    student, teacher = ((300 * z.detach()).to(dtype) for z in pair())
    expected = ALL[name](student.float(), teacher.float())
    with torch.autocast("cpu", torch.bfloat16):
        loss = ALL[name](student, teacher)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("name", ALL)
def test_values_that_are_not_finite_and_shapes_that_do_not_fit_are_refused(name: str) -> None:
    student, teacher = pair()
    with pytest.raises(ValueError, match="teacher has NaN"):
        ALL[name](student, teacher * torch.nan)
    with pytest.raises(ValueError, match="expected"):
        ALL[name](student, teacher[:3])
    if name not in RELATIONS:
        with pytest.raises(ValueError, match="expected"):
            ALL[name](student, teacher[:, :3])


def test_extreme_logits_stay_finite() -> None:
    student = torch.tensor([[1200.0, -1200.0, 0.0], [-1200.0, 1200.0, 0.0]], requires_grad=True)
    teacher = -student.detach()
    target = torch.tensor([0, 1])
    for loss in (losses.kd_loss, losses.dist_loss, losses.logitstd_loss, partial(losses.dkd_loss, target=target)):
        value = loss(student, teacher)
        (gradient,) = torch.autograd.grad(value, student)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_two_classes_are_refused_where_the_method_has_nothing_to_say() -> None:
    student, teacher = pair(student=2, teacher=2)
    with pytest.raises(ValueError, match="dkd has 2 classes; expected at least 3"):
        losses.dkd_loss(student, teacher, torch.zeros(7, dtype=torch.int64))
    with pytest.raises(ValueError, match="C >= 3"):
        losses.logitstd_loss(student, teacher)
    with pytest.warns(RuntimeWarning, match="two classes") as record:
        loss = losses.dist_loss(student, teacher)
    assert record[0].filename == __file__  # it points at who called
    torch.testing.assert_close(loss, losses.pearson_loss(student.softmax(-1), teacher.softmax(-1)))


def test_dkd_is_kd_split_at_the_target() -> None:
    student, teacher = pair()
    p = (teacher.detach() / 4).softmax(-1)[torch.arange(7), LABELS]
    target_part = losses.dkd_loss(student, teacher, LABELS, beta=0.0)
    rows = torch.stack(
        [
            losses.dkd_loss(student[i : i + 1], teacher[i : i + 1], LABELS[i : i + 1], alpha=0.0, beta=1.0)
            for i in range(7)
        ]
    )
    torch.testing.assert_close(target_part + ((1 - p) * rows).mean(), losses.kd_loss(student, teacher))


def test_unlabelled_samples_do_not_count_where_labels_are_needed() -> None:
    student, teacher = pair()
    labelled = torch.tensor([True, True, False, True, False, True, True])
    target = torch.where(labelled, LABELS, -1)
    expected = losses.dkd_loss(student[labelled], teacher[labelled], LABELS[labelled])
    torch.testing.assert_close(losses.dkd_loss(student, teacher, target, labelled=labelled), expected)
    values = torch.where(labelled[:, None], VALUES, torch.nan)
    expected = losses.bounded_loss(student[labelled], teacher[labelled], VALUES[labelled])
    torch.testing.assert_close(losses.bounded_loss(student, teacher, values, labelled=labelled), expected)
    nobody = torch.zeros_like(labelled)
    assert losses.dkd_loss(student, teacher, target, labelled=nobody).item() == 0
    assert losses.bounded_loss(student, teacher, values, labelled=nobody).item() == 0


def test_an_unlabelled_sample_is_imitated_with_the_mean_trust() -> None:
    student, teacher = pair()
    labelled = torch.tensor([True, True, False, True, True, True, True])
    values = torch.where(labelled[:, None], VALUES, torch.nan)
    error = (teacher - VALUES).square().sum(-1)[labelled]
    trust = 1 - error / (error.max() - error.min())
    difference = (student - teacher).square().sum(-1)
    expected = ((trust * difference[labelled]).sum() + trust.mean() * difference[2]) / 7
    torch.testing.assert_close(losses.imitation_loss(student, teacher, values, labelled=labelled), expected)
    clamped = losses.imitation_loss(student, teacher, values, labelled=labelled, clamp=True)
    trust = trust.clamp(min=0)
    torch.testing.assert_close(clamped, ((trust * difference[labelled]).sum() + trust.mean() * difference[2]) / 7)
    alone = losses.imitation_loss(student, teacher, values, labelled=torch.zeros_like(labelled))
    torch.testing.assert_close(alone, difference.mean())


def test_bounded_asks_more_only_where_the_student_is_worse_than_the_teacher() -> None:
    target = torch.zeros(2, 1)
    student, teacher = torch.tensor([[2.0], [0.5]]), torch.tensor([[1.0], [1.0]])
    huber = torch.nn.functional.smooth_l1_loss(student, target)
    torch.testing.assert_close(losses.bounded_loss(student, teacher, target), huber + 0.5 * torch.tensor(4.0) / 2)
    torch.testing.assert_close(
        losses.bounded_loss(student, teacher, target, margin=10.0), huber + 0.5 * torch.tensor(4.25) / 2
    )


def test_cc_is_close_to_the_gaussian_kernel_it_expands() -> None:
    student, teacher = pair()
    kernels = [
        torch.exp(-0.4 * torch.cdist(u, u).square())
        for u in (torch.nn.functional.normalize(z) for z in (student, teacher))
    ]
    expected = (kernels[0] - kernels[1]).square().mean()
    torch.testing.assert_close(losses.cc_loss(student, teacher, order=12), expected)


def test_mad_weights_columns_or_rows_and_becomes_sp_where_all_are_equally_sure() -> None:
    student, teacher = pair()
    same = torch.full((7,), 0.3)
    torch.testing.assert_close(losses.mad_loss(student, teacher, same), 7 * losses.sp_loss(student, teacher))
    torch.testing.assert_close(losses.mad_loss(student, teacher, 0 * same), 7 * losses.sp_loss(student, teacher))
    weight = torch.arange(7.0)
    by_column, by_row = (losses.mad_loss(student, teacher, weight, per=per) for per in ("column", "row"))
    assert by_column != by_row


def test_mad_takes_the_teachers_error_for_regression() -> None:
    student, teacher = pair()
    prediction, target = pair(student=2, teacher=2, seed=3)
    labelled = torch.tensor([True, True, False, True, True, True, True])
    target[2] = torch.nan
    module = losses.MADLoss(uncertainty="error")
    loss = module(student, teacher, teacher_prediction=prediction, target=target, labelled=labelled)
    error = (prediction.detach() - target).norm(dim=-1).float()
    error[2] = error[labelled].mean()
    torch.testing.assert_close(loss, losses.mad_loss(student, teacher, error))
    with pytest.raises(ValueError, match="target is None"):
        module(student, teacher, teacher_prediction=prediction)


def test_mmd_of_two_far_clouds_is_near_its_largest_value_and_order_free() -> None:
    student, teacher = pair(40)
    near, far = losses.mmd_loss(student, teacher), losses.mmd_loss(student + 50, teacher)
    assert 0 < near < far < 10
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses.mmd_loss(student[order], teacher), near)


@pytest.mark.parametrize("module", [losses.HintLoss, losses.CosineLoss, losses.MMDLoss, losses.VIDLoss])
def test_connectors_learn_to_translate_between_widths(module: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    student = torch.randn(64, 6)
    teacher = student @ torch.randn(6, 3)
    criterion = module(student_width=6, teacher_width=3)
    optimizer = torch.optim.Adam(criterion.parameters(), lr=1e-2)
    first = None
    for _ in range(300):
        loss = criterion(student, teacher)
        first = first if first is not None else loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first - 0.3 * abs(first)
    if module is not losses.VIDLoss:
        with pytest.raises(ValueError, match="expected both"):
            module(student_width=6)
        with pytest.raises(ValueError, match="width"):
            module()(student, teacher)


def test_crd_memories_are_saved_and_go_on() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(8, 5), torch.randn(8, 6)
    index = torch.arange(8)

    def module() -> losses.CRDLoss:
        return losses.CRDLoss(student_width=5, teacher_width=6, samples=20, width=4, negatives=16)

    first = module()
    first(student, teacher, index=index)
    second = module()
    second.load_state_dict(first.state_dict())
    negatives = torch.randint(20, (8, 16))
    values = [m(student, teacher, index=index, negatives=negatives) for m in (first, second)]
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(first.student_memory, second.student_memory)


def test_crd_trains_the_student_towards_its_own_sample() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(32, 6)
    student = torch.randn(32, 5, requires_grad=True)
    criterion = losses.CRDLoss(student_width=5, teacher_width=6, samples=32, width=8, negatives=64)
    optimizer = torch.optim.Adam([student, *criterion.parameters()], lr=3e-2)
    for _ in range(200):
        optimizer.zero_grad()
        criterion(student, teacher, index=torch.arange(32)).backward()
        optimizer.step()
    own, other = criterion._embed(student, teacher)
    assert ((own @ other.mT).argmax(-1) == torch.arange(32)).float().mean() > 0.8


def test_crd_says_which_index_it_expected() -> None:
    criterion = losses.CRDLoss(student_width=5, teacher_width=6, samples=4)
    with pytest.raises(ValueError, match="0 to 3"):
        criterion(torch.ones(2, 5), torch.ones(2, 6), index=torch.tensor([0, 4]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.KDLoss(temperature=0.0), "temperature is 0"),
        (lambda: losses.DKDLoss(beta=-1.0), "beta is -1"),
        (lambda: losses.DISTLoss(gamma=float("nan")), "gamma is nan"),
        (lambda: losses.RKDLoss(angle=-1.0), "angle is -1"),
        (lambda: losses.CCLoss(order=0), "order is 0"),
        (lambda: losses.MMDLoss(ratio=0.0), "ratio is 0"),
        (lambda: losses.MADLoss(per="cell"), "per 'cell' is not one of"),  # type: ignore[arg-type]
        (lambda: losses.BoundedLoss(weight=-1.0), "weight is -1"),
        (lambda: losses.MultiTeacherOTLoss(choice="best"), "choice 'best' is not one of"),  # type: ignore[arg-type]
        (lambda: losses.CRDLoss(student_width=2, teacher_width=2, samples=0), "samples is 0"),
    ],
)
def test_settings_out_of_range_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
