import itertools

import pytest
import torch
from torch import Tensor

from pkdot.tasks import Task, TaskLoss, concordance_loss, corn_loss

PAIN = Task("classification", ("level",), ("BL1", "PA4"))
LEVELS = Task("ordinal", ("level",), ("a", "b", "c", "d"), "corn")
AFFECT = Task("regression", ("valence", "arousal"))


def test_auto_is_the_usual_loss_of_the_kind() -> None:
    assert PAIN.loss == "cross-entropy"
    assert AFFECT.loss == "ccc"
    assert LEVELS.with_loss("auto").loss == "cross-entropy"
    assert AFFECT.with_loss("mse").loss == "mse"


def test_the_head_is_as_wide_as_the_loss_needs() -> None:
    assert (PAIN.head_size, LEVELS.head_size, LEVELS.with_loss("auto").head_size, AFFECT.head_size) == (2, 3, 4, 2)
    read = "".join(["co", "rn"])  # a word from a file is equal to the literal and not the same object
    assert LEVELS.with_loss(read).head_size == 3  # type: ignore[arg-type]


@pytest.mark.parametrize(("task", "loss"), [(PAIN, "corn"), (PAIN, "ccc"), (LEVELS, "mse"), (AFFECT, "cross-entropy")])
def test_a_loss_of_another_kind_is_refused(task: Task, loss: TaskLoss) -> None:
    with pytest.raises(ValueError, match=f"'{loss}' does not fit a {task.kind} task"):
        task.with_loss(loss)


@pytest.mark.parametrize(
    "words",
    [
        ("clustering", ("a",), ("x", "y")),
        ("classification", ("a",), ("x",)),
        ("classification", ("a",), ("x", "x")),
        ("classification", ("a", "b"), ("x", "y")),
        ("regression", ("a",), ("x", "y")),
        ("regression", (), ()),
    ],
)
def test_what_does_not_go_together_is_refused(words: tuple[str, tuple[str, ...], tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match=r"task|regression"):
        Task(*words)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", [PAIN, LEVELS, LEVELS.with_loss("auto"), AFFECT, AFFECT.with_loss("mse")])
def test_unlabelled_rows_do_not_matter_even_if_they_are_nan(task: Task) -> None:
    prediction = torch.randn(6, task.head_size, dtype=torch.float64)
    target = torch.randn(6, 2) if task.kind == "regression" else torch.tensor([0, 1, 1, 0, 1, 1])
    labelled = torch.tensor([True, True, True, True, False, False])
    spoiled = prediction.clone()
    spoiled[4:] = torch.nan
    spoiled.requires_grad_()
    loss = task.task_loss(spoiled, target, labelled)
    loss.backward()
    assert loss.item() == pytest.approx(task.task_loss(prediction[:4], target[:4]).item())
    assert spoiled.grad is not None
    assert bool((spoiled.grad[4:] == 0).all())
    assert bool(spoiled.grad[:4].isfinite().all())


@pytest.mark.parametrize("task", [PAIN, LEVELS, AFFECT])
def test_without_a_label_the_loss_is_zero_and_so_is_its_gradient(task: Task) -> None:
    prediction = torch.randn(3, task.head_size, requires_grad=True)
    target = torch.zeros(3, 2) if task.kind == "regression" else torch.zeros(3, dtype=torch.int64)
    loss = task.task_loss(prediction, target, torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0
    assert prediction.grad is not None
    assert bool((prediction.grad == 0).all())


def reference_corn(prediction: Tensor, target: Tensor) -> float:
    """Level by level, sample by sample, from the paper's definition."""
    terms = []
    for level, (logits, answer) in itertools.product(
        range(prediction.shape[1]), list(zip(prediction, target.tolist(), strict=True))
    ):
        if answer >= level:
            chance = torch.sigmoid(logits[level])
            terms.append(-torch.log(chance if answer > level else 1 - chance).item())
    return sum(terms) / len(terms)


def test_corn_follows_its_definition() -> None:
    prediction, target = torch.randn(9, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3, 2, 1, 0, 2])
    assert corn_loss(prediction, target).item() == pytest.approx(reference_corn(prediction, target))
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: corn_loss(p, target), prediction)


def test_corn_survives_extreme_logits() -> None:
    prediction = torch.tensor([[1e4, -1e4, 1e4]], requires_grad=True)
    loss = corn_loss(prediction, torch.tensor([3]))
    loss.backward()
    assert loss.isfinite()
    assert prediction.grad is not None
    assert bool(prediction.grad.isfinite().all())


def test_corn_probabilities_sum_to_one_and_agree_with_the_decoded_level() -> None:
    prediction = torch.tensor([[9.0, 9.0, -9.0], [-9.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    chances = LEVELS.probabilities(prediction)
    assert torch.allclose(chances.sum(-1), torch.ones(3))
    assert bool((chances >= 0).all())
    assert LEVELS.decode(prediction).tolist() == [2, 0, 3] == chances.argmax(-1).tolist()


def test_a_regression_has_no_probabilities() -> None:
    with pytest.raises(ValueError, match="no class probabilities"):
        AFFECT.probabilities(torch.zeros(1, 2))


def test_concordance_loss_is_one_minus_the_metric() -> None:
    prediction, target = torch.randn(20, 2, dtype=torch.float64), torch.randn(20, 2, dtype=torch.float64)
    assert concordance_loss(prediction, target).item() == pytest.approx(1 - AFFECT.metrics(prediction, target)["ccc"])
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: concordance_loss(p, target), prediction)


@pytest.mark.parametrize(
    ("prediction", "target"),
    [
        (torch.zeros(4, 2), torch.ones(4, 2)),
        (torch.ones(4, 2), torch.ones(4, 2)),
        (torch.full((3, 2), 0.1), torch.full((3, 2), 0.1)),
        (1e-30 * torch.randn(4, 2), 1e-30 * torch.randn(4, 2)),
        (torch.randn(4, 2), torch.zeros(4, 2)),
        (torch.randn(1, 2), torch.randn(1, 2)),
        (1e6 * torch.randn(4, 2), torch.randn(4, 2)),
    ],
)
def test_concordance_loss_is_finite_where_nothing_varies(prediction: Tensor, target: Tensor) -> None:
    prediction = prediction.clone().requires_grad_()
    loss = concordance_loss(prediction, target)
    loss.backward()
    assert loss.isfinite()
    assert prediction.grad is not None
    assert bool(prediction.grad.isfinite().all())


@pytest.mark.parametrize("size", [1, 7])
def test_a_constant_target_teaches_concordance_nothing(size: int) -> None:
    prediction = torch.full((size, 2), 0.1).add_(1e-7 * torch.randn(size, 2)).requires_grad_()
    loss = concordance_loss(prediction, torch.full((size, 2), 0.1))
    loss.backward()
    assert loss.item() == 1.0
    assert prediction.grad is not None
    assert bool((prediction.grad == 0).all())


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_concordance_loss_does_not_depend_on_the_unit(unit: float) -> None:
    target = torch.randn(20, 2)
    prediction = target + 0.3 * torch.randn(20, 2)
    assert concordance_loss(unit * prediction, unit * target).item() == pytest.approx(
        concordance_loss(prediction, target).item(), rel=1e-4
    )


@pytest.mark.parametrize("task", [PAIN, LEVELS, AFFECT, AFFECT.with_loss("mse")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_scored_in_full_precision(task: Task, dtype: torch.dtype) -> None:
    prediction = torch.randn(30, task.head_size).to(dtype)
    target = torch.randn(30, 2) if task.kind == "regression" else torch.arange(30) % 2
    assert task.task_loss(prediction, target).dtype == torch.float32
    assert task.task_loss(prediction, target).item() == task.task_loss(prediction.float(), target).item()
    assert task.metrics(prediction, target) == task.metrics(prediction.float(), target)


@pytest.mark.parametrize(
    ("task", "prediction", "target"),
    [
        (AFFECT, (2, 2), (2,)),
        (AFFECT, (4, 2), (4, 1)),
        (AFFECT.with_loss("mse"), (2, 2), (2,)),
        (AFFECT, (4, 1), (4, 1)),
        (PAIN, (4, 2), (4, 1)),
        (PAIN, (4, 2), (3,)),
        (LEVELS, (4, 4), (4,)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(
    task: Task, prediction: tuple[int, ...], target: tuple[int, ...]
) -> None:
    kind = torch.float32 if task.kind == "regression" else torch.int64
    with pytest.raises(ValueError, match=r"prediction has shape .* and target .*; expected"):
        task.task_loss(torch.zeros(prediction), torch.zeros(target, dtype=kind))


def test_concordance_loss_refuses_to_broadcast() -> None:
    with pytest.raises(ValueError, match="expected the same"):
        concordance_loss(torch.zeros(2, 2), torch.zeros(2))


def test_metrics_carry_the_names_of_the_contract() -> None:
    classes = PAIN.metrics(torch.randn(5, 2), torch.tensor([0, 1, 0, 1, 1]))
    levels = LEVELS.metrics(torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 1]))
    values = AFFECT.metrics(torch.randn(5, 2), torch.randn(5, 2))
    assert list(classes) == ["accuracy", "macro_f1"]
    assert list(levels) == ["accuracy", "macro_f1", "mae", "qwk"]
    assert list(values) == ["ccc", "ccc_valence", "ccc_arousal", "rmse", "pcc", "mae", "r2"]
    assert PAIN.primary_metric in classes
    assert LEVELS.primary_metric in levels
    assert AFFECT.primary_metric in values


@pytest.mark.parametrize("loss", ["ccc", "mse"])
def test_a_head_answers_in_the_spread_of_the_training_targets(loss: TaskLoss) -> None:
    target = torch.tensor([[150.0, 1e-3], [200.0, 3e-3], [100.0, 5e-3]])
    task = AFFECT.with_loss(loss).with_units(target)
    answer = torch.randn(3, 2)
    encoded = (target - target.mean(0)) / target.std(0, correction=0)
    assert task.task_loss(answer, target).item() == pytest.approx(
        AFFECT.with_loss(loss).task_loss(answer, encoded).item(), rel=1e-4
    )
    assert torch.allclose(task.decode(encoded), target, rtol=1e-4)
    assert task.metrics(encoded, target)["ccc"] == pytest.approx(1.0)


def test_constant_targets_have_a_unit_spread() -> None:
    assert AFFECT.with_units(torch.full((4, 2), 3.0)).spread == (1.0, 1.0)


def test_units_do_not_change_the_question() -> None:
    assert AFFECT.with_units(torch.randn(9, 2)).same_question(AFFECT)
    assert not AFFECT.same_question(AFFECT.with_loss("mse"))


@pytest.mark.parametrize("loss", ["cross-entropy", "corn", "mse"])
def test_sample_losses_are_those_of_the_samples_alone(loss: str) -> None:
    generator = torch.Generator().manual_seed(0)
    if loss == "mse":
        task = Task("regression", ("a", "b"), loss="mse").with_units(torch.randn(20, 2, generator=generator))
        target = torch.randn(6, 2, generator=generator)
    else:
        task = Task("ordinal", ("pain",), ("no", "some", "much"), loss)  # type: ignore[arg-type]
        target = torch.tensor([0, 1, 2, 2, 1, 0])
    prediction = torch.randn(6, task.head_size, generator=generator)
    found = task.sample_losses(prediction, target)
    alone = [task.task_loss(prediction[i : i + 1], target[i : i + 1]) for i in range(6)]
    if loss == "corn":  # the mean over the levels that a sample is asked about, times their number
        alone = [value * min(level + 1, 2) for value, level in zip(alone, target.tolist(), strict=True)]
    torch.testing.assert_close(found, torch.stack(alone))
