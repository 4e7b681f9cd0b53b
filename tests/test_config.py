import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pkdot.config import (
    BioVidConfig,
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
        (DataConfig, "split_seed", -1),
        (DataConfig, "cache_mb", -1),
        (ModelConfig, "width", 0),
        (ModelConfig, "width", 65536),
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
        (RunConfig, "name", "a/b"),
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
    "kind",
    [BioVidConfig, DataConfig, ModelConfig, OptimConfig, DistillConfig, RunConfig, TeacherRunConfig, StudentRunConfig],
)
def test_defaults_are_valid(kind: Any) -> None:
    assert len(fields(kind())) > 0


def test_a_users_own_entry_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    from pkdot.losses import LOSSES

    monkeypatch.setitem(LOSSES, "mine", object)  # type: ignore[arg-type]
    assert DistillConfig(method="mine").method == "mine"


@pytest.mark.parametrize(
    ("kind", "field", "value", "expected"),
    [
        (TeacherRunConfig, "data", "name", r"DataConfig\(source=\.\.\.\)"),
        (StudentRunConfig, "optim", 3, r"OptimConfig\(epochs=\.\.\.\)"),
        (StudentRunConfig, "run", None, r"RunConfig\(out=\.\.\.\)"),
        (StudentRunConfig, "teacher", 3, "a path or None"),
        (DataConfig, "frames", "12", "a whole number"),
        (DataConfig, "frames", 2.5, "a whole number"),
        (DataConfig, "frames", True, "a whole number"),
        (DataConfig, "folds", "all", "a whole number or loso"),
        (BioVidConfig, "levels", "none", "binary or ordinal"),
        (BioVidConfig, "part", "C", "A or B"),
        (DataConfig, "biovid", "binary", r"BioVidConfig\(levels=\.\.\.\)"),
        (DataConfig, "augment", 1, "true or false"),
        (DataConfig, "source", None, "a text"),
        (DataConfig, "source", b"name", "a text"),
        (OptimConfig, "lr", "big", "a finite number"),
        (OptimConfig, "lr", False, "a finite number"),
        (DistillConfig, "topk", "many", "a whole number, a finite number or auto"),
        (DistillConfig, "settings", "beta=8", "a list, each item a text"),
        (DistillConfig, "settings", (8,), "a list, each item a text"),
        (EvaluateConfig, "folder", 3, "a path"),
    ],
)
def test_a_value_of_another_type_is_told_what_was_expected(kind: Any, field: str, value: object, expected: str) -> None:
    required = {"folder": "run"} if kind is EvaluateConfig else {}
    with pytest.raises(ValueError, match=rf"^{field} is {re.escape(repr(value))}; expected {expected}\.$"):
        kind(**{**required, field: value})


def test_no_setting_takes_a_number_that_is_not_finite() -> None:
    kinds = (DataConfig, ModelConfig, OptimConfig, DistillConfig, RunConfig)
    numbers = [(kind, field.name) for kind in kinds for field in fields(kind) if "float" in str(field.type)]
    assert (OptimConfig, "lr") in numbers
    for kind, name in numbers:
        for value in (math.nan, math.inf, -math.inf):
            with pytest.raises(ValueError, match=rf"^{name} is {value}; expected .*a finite number"):
                kind(**{name: value})


def test_what_means_the_same_is_taken_as_the_declared_type() -> None:
    run = RunConfig(out="runs", threads=np.int64(2))  # type: ignore[arg-type]
    assert (run.out, type(run.threads)) == (Path("runs"), int)
    assert type(OptimConfig(lr=1).lr) is float
    assert type(DistillConfig(topk=np.float64(0.5)).topk) is float
    assert (DistillConfig(topk=1).topk, type(DistillConfig(topk=1).topk)) == (1, int)
    assert type(DistillConfig(topk=1.0).topk) is float
    assert DataConfig(source=Path("mine")).source == "mine"  # type: ignore[arg-type]
    assert DistillConfig(method="kd", settings=["a=1"]).settings == ("a=1",)  # type: ignore[arg-type]
