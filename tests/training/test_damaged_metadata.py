"""A model file whose metadata is odd, as older versions wrote it, without a digest: one line that names the file."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from pkdot.config import EvaluateConfig, ModelConfig
from pkdot.data.batch import Schema
from pkdot.teachers import TEACHERS
from pkdot.training.model_file import check_fits, load_model
from pkdot.training.reevaluation import evaluate
from pkdot.training.run_folder import RunFolder
from pkdot.training.teacher import train_teacher
from pkdot.training.trained import load_trained
from tests.support import teacher_config, write_vectors
from tests.training.toys import SCHEMA

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("damaged")
    return train_teacher(teacher_config(write_vectors(folder / "data"), folder / "runs")).folder


@pytest.fixture(scope="module")
def saved(run: RunFolder) -> tuple[dict[str, Tensor], str]:
    tensors, metadata = load_model(run.best)
    return {name: tensor.clone() for name, tensor in tensors.items()}, json.dumps(metadata)


CHANGES: list[Change] = [
    lambda told: told.pop("kind"),
    lambda told: told.pop("schema"),
    lambda told: told.pop("model"),
    lambda told: told.pop("data"),
    lambda told: told.update(kind=["teacher"]),
    lambda told: told.update(schema=[]),
    lambda told: told.update(model="cross-attention"),
    lambda told: told.update(data=3),
    lambda told: told["data"].update(frames="many"),
    lambda told: told["model"].update(width=65536),
    lambda told: told["model"].update(width=4096),
    lambda told: told["model"].update(width=None),
    lambda told: told["model"].update(teacher=3),
    lambda told: told["model"].update(teacher="concat"),
    lambda told: told["model"].update(unheard_of=1),
    lambda told: told["schema"].update(prevalent=["unheard-of"]),
    lambda told: told["schema"].update(modalities={}),
    lambda told: told["schema"]["modalities"]["weak"].update(shape=[10**9, 10**9]),
    lambda told: told["schema"]["modalities"]["weak"].update(shape=[10**9]),
    lambda told: told["schema"]["modalities"]["weak"].update(shape="wide"),
    lambda told: told["schema"]["modalities"]["weak"].update(kind="smell"),
    lambda told: told["schema"]["modalities"]["weak"].update(kind="audio", rate_hz=1e300),
    lambda told: told["schema"]["task"].update(classes=[str(number) for number in range(20_000)]),
    lambda told: told["schema"]["task"].update(classes=[1, 2]),
    lambda told: told["schema"]["task"].update(center=[0.0, 1.0]),
    lambda told: told["schema"]["task"].update(loss="hinge"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_odd_metadata_is_one_line_that_names_the_file(
    run: RunFolder, saved: tuple[dict[str, Tensor], str], change: Change
) -> None:
    tensors, told = saved
    metadata = json.loads(told)
    change(metadata)
    run.best.write_bytes(save(tensors, {"pkdot": json.dumps(metadata)}))
    with pytest.raises(ValueError, match=str(run.path)) as mistake:
        evaluate(EvaluateConfig(run.path))
    assert "\n" not in str(mistake.value)


def test_a_file_of_an_older_version_is_read(run: RunFolder, saved: tuple[dict[str, Tensor], str]) -> None:
    run.best.write_bytes(save(saved[0], {"pkdot": saved[1]}))
    assert load_trained(run, TEACHERS, "teacher").metadata == json.loads(saved[1])


def test_no_memory_is_taken_for_a_model_whose_weights_are_not_there() -> None:
    built = []

    class Large(nn.Module):
        def __init__(self, schema: Schema, config: ModelConfig) -> None:
            super().__init__()
            self.layer = nn.Linear(config.width, config.width)
            built.append(self.layer.weight.device.type)

    weights = {"layer.weight": torch.zeros(8, 8), "layer.bias": torch.zeros(8)}
    check_fits(weights, Large, SCHEMA, ModelConfig(width=8))
    for tensors, told in (
        (weights, r"layer\.weight has shape \(8, 8\), expected \(4096, 4096\)"),
        ({}, r"layer\.weight has shape None, expected \(4096, 4096\)"),
    ):
        with pytest.raises(ValueError, match=told):
            check_fits(tensors, Large, SCHEMA, ModelConfig(width=4096))
    with pytest.raises(ValueError, match=r"more has shape \(1,\), expected None"):
        check_fits({**weights, "more": torch.zeros(1)}, Large, SCHEMA, ModelConfig(width=8))
    assert set(built) == {"meta"}


def test_a_model_that_is_built_with_its_values_is_left_to_be_built() -> None:
    class Careful(nn.Module):
        def __init__(self, schema: Schema, config: ModelConfig) -> None:
            super().__init__()
            self.layer = nn.Linear(float(torch.ones(1)) > 0 and 3, 3)

    check_fits({}, Careful, SCHEMA, ModelConfig(width=8))
