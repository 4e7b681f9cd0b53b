import inspect

import pytest
import torch
from torch import Tensor, nn

from pkdot.losses import LOSSES, DistillationLoss
from pkdot.losses.base import declared_by, keywords_of
from pkdot.tasks import Task

BINARY = Task("classification", ("answer",), ("low", "high"))
LEVELS = Task("ordinal", ("pain",), ("no", "some", "much"))
VALUE = Task("regression", ("answer",))


def test_losses_declare_what_they_take() -> None:
    assert set(LOSSES) >= {"none", "ot", "structure-mse", "structure-kl", "kd"}
    for name, loss in LOSSES.items():
        assert issubclass(loss, DistillationLoss), name
        further = set(inspect.signature(loss.forward).parameters) - {"self", "student", "teacher", "negatives"}
        assert further == set(loss.needs), name


@pytest.mark.parametrize("name", ["none", "ot", "structure-mse", "structure-kl", "kd"])
def test_losses_map_student_and_teacher_to_a_scalar_with_gradient(name: str) -> None:
    student, teacher = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
    student.requires_grad_()
    loss = LOSSES[name]()(student, teacher)
    loss.backward()
    assert loss.shape == ()
    assert student.grad is not None
    assert bool(student.grad.any()) == (name != "none")


def test_a_loss_says_why_it_does_not_fit_a_task() -> None:
    assert [declared_by(LOSSES["ot"]).misfit(task) for task in (BINARY, LEVELS, VALUE)] == ["", "", ""]
    assert declared_by(LOSSES["kd"]).misfit(LEVELS) == ""
    assert "compares class logits" in declared_by(LOSSES["kd"]).misfit(LEVELS.with_loss("corn"))
    assert "compares class logits" in declared_by(LOSSES["kd"]).misfit(VALUE)
    assert "compares regression outputs" in declared_by(LOSSES["ccc"]).misfit(BINARY)
    assert declared_by(LOSSES["dkd"]).misfit(BINARY) == "needs at least 3 classes, and this task has 2"
    assert declared_by(LOSSES["dkd"]).misfit(LEVELS) == ""


def test_a_loss_with_a_temperature_unit_has_a_temperature() -> None:
    units = {name: declared_by(loss).temperature_unit for name, loss in LOSSES.items()}
    assert {name for name, unit in units.items() if unit == "similarity"} == {"ot", "mt-ot", "structure-kl"}
    assert {name for name, unit in units.items() if unit == "logit"} == {"kd"}
    for name, unit in units.items():
        assert unit is None or "temperature" in LOSSES[name].accepted_settings(), name  # type: ignore[attr-defined]


class Plain(nn.Module):
    def __init__(self, slope: float = 2.0, *, offset: int, **more: float) -> None:
        super().__init__()

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return student.mean()


def test_a_plain_module_compares_embeddings_and_needs_nothing() -> None:
    for plain in (Plain, Plain(offset=1), nn.Identity):
        assert declared_by(plain) is DistillationLoss
    assert keywords_of(Plain) == {"slope": 2.0, "offset": inspect.Parameter.empty}
    assert keywords_of(nn.ReLU) == {"inplace": False}
    loss = LOSSES["kd"]()
    assert declared_by(loss) is loss


def test_a_plain_module_that_declares_something_is_refused() -> None:
    class Declares(Plain):
        inputs = "prediction"

    with pytest.raises(ValueError, match="Declares declares inputs or needs; expected a subclass of DistillationLoss"):
        declared_by(Declares)


def test_a_loss_that_is_built_on_another_takes_its_settings_too() -> None:
    own = {"choice", "centroid", "gather"}
    accepted = LOSSES["mt-ot"].accepted_settings()  # type: ignore[attr-defined]
    assert set(accepted) == set(keywords_of(LOSSES["ot"])) | own
    assert accepted["blur"] == 0.1
