from dataclasses import fields
from typing import Any

import pytest

from pkdot.checks import check_choice, check_range, names_in
from pkdot.config import (
    DataConfig,
    DistillConfig,
    EvaluateConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    StudentRunConfig,
    TeacherRunConfig,
)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (DataConfig, "labels", 0.0),
        (DataConfig, "labels", 1.1),
        (DataConfig, "labels", float("nan")),
        (DataConfig, "val", 0.0),
        (DataConfig, "test", 1.5),
        (DataConfig, "test", 0.9),
        (DataConfig, "frames", 0),
        (DataConfig, "image_size", 4),
        (DataConfig, "workers", -1),
        (DataConfig, "cache_mb", -1),
        (ModelConfig, "width", 0),
        (ModelConfig, "teacher", "cross-atention"),
        (ModelConfig, "student", "blind"),
        (ModelConfig, "video", "vidoe"),
        (OptimConfig, "epochs", 0),
        (OptimConfig, "batch_size", 0),
        (OptimConfig, "lr", 0.0),
        (OptimConfig, "lr", float("inf")),
        (OptimConfig, "weight_decay", -0.1),
        (OptimConfig, "warmup", 1.5),
        (OptimConfig, "clip", 0.0),
        (OptimConfig, "patience", 0),
        (DistillConfig, "method", "otx"),
        (DistillConfig, "topk", 0),
        (DistillConfig, "topk", 0.0),
        (DistillConfig, "topk", 1.5),
        (DistillConfig, "weight", -1.0),
        (DistillConfig, "balance", -1.0),
        (DistillConfig, "blur", 0.0),
        (DistillConfig, "temperature", 0.0),
        (DistillConfig, "kd_temperature", -1.0),
        (RunConfig, "seed", -1),
        (RunConfig, "threads", -1),
        (RunConfig, "checkpoint_steps", -1),
        (RunConfig, "picture_epochs", -1),
        (EvaluateConfig, "batch_size", 0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(kind: Any, field: str, value: object) -> None:
    more = {"folder": "runs/a"} if kind is EvaluateConfig else {}
    with pytest.raises(ValueError, match=field):
        kind(**{field: value}, **more)


@pytest.mark.parametrize("topk", ["auto", 1, 30, 1.0, 0.5])
def test_topk_is_auto_a_number_or_a_share(topk: Any) -> None:
    assert DistillConfig(topk=topk).topk == topk


@pytest.mark.parametrize(
    "kind", [DataConfig, ModelConfig, OptimConfig, DistillConfig, RunConfig, TeacherRunConfig, StudentRunConfig]
)
def test_defaults_are_valid(kind: Any) -> None:
    assert len(fields(kind())) > 0


def test_a_wrong_choice_is_told_the_choices_and_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"method 'knd' is not one of none, kd\. Did you mean 'kd'\?"):
        check_choice("method", "knd", ["none", "kd"])
    with pytest.raises(ValueError, match=r"one of none, kd\.$"):
        check_choice("method", "zzz", ["none", "kd"])


def test_a_range_may_exclude_its_lower_end() -> None:
    check_range("x", 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"x 0\.0 is outside \(0\.0, 1\.0\]"):
        check_range("x", 0.0, 0.0, 1.0, open_low=True)


def test_names_of_an_unknown_place_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no module 'pkdot\.attic'"):
        names_in("pkdot.attic", "NAMES")
    with pytest.raises(ValueError, match="no dict literal"):
        names_in("pkdot.cli.console", "NAMES")


def test_a_users_own_entry_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    from pkdot.losses import LOSSES

    monkeypatch.setitem(LOSSES, "mine", object)  # type: ignore[arg-type]
    assert DistillConfig(method="mine").method == "mine"
