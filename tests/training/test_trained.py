"""A model on the disk comes back as it was written, or is refused in one line."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from pkdot.config import ModelConfig
from pkdot.students import STUDENTS
from pkdot.teachers import TEACHERS
from pkdot.training.model_file import load_model, save_model
from pkdot.training.run_folder import RunFolder
from pkdot.training.trained import load_trained
from tests.training.toys import SCHEMA


def test_a_model_comes_back_with_its_metadata(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    save_model(tmp_path / "best.safetensors", model, {"kind": "student", "epoch": 3})
    tensors, metadata = load_model(tmp_path / "best.safetensors")
    assert metadata["kind"] == "student"
    assert (tmp_path / "best.json").exists()
    assert all(torch.equal(tensors[name], value) for name, value in model.state_dict().items())


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_model(path, nn.Linear(30, 20), {"kind": "student"})
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="damaged model"):
        load_model(path)
    path.write_bytes(bytes(content[:40]))
    with pytest.raises(ValueError, match="not a readable model"):
        load_model(path)


def test_metadata_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_model(path, nn.Linear(30, 20), {"kind": "student", "shape": (3, 4), "epoch": 12, "score": float("nan")})
    assert load_model(path)[1]["epoch"] == 12
    path.write_bytes(path.read_bytes().replace(b'epoch\\": 12', b'epoch\\": 13'))
    with pytest.raises(ValueError, match="its metadata does not match its digest"):
        load_model(path)


@pytest.mark.parametrize("told", ["[]", "3", "null", "{}", "[" * 50_000, '{"sha256": 3}', "\ud800", ""])
def test_metadata_that_is_no_table_is_refused(tmp_path: Path, told: str) -> None:
    path = tmp_path / "best.safetensors"
    path.write_bytes(save({"a": torch.zeros(2)}, {"pkdot": told}) if told != "\ud800" else b"\xff" * 99)
    with pytest.raises(ValueError, match=r"best\.safetensors: "):
        load_model(path)


def saved(folder: Path, **changed: Any) -> RunFolder:
    """A run folder with a teacher of eight numbers, of which its metadata say something else."""
    config = ModelConfig(width=8, teacher="concat")
    torch.manual_seed(1)
    model = TEACHERS["concat"](SCHEMA, config)
    metadata = {"kind": "teacher", "schema": SCHEMA.to_dict(), "model": asdict(config)}
    told = {name: value for name, value in {**metadata, **changed}.items() if value is not None}
    save_model(RunFolder(folder).best, model, told)
    return RunFolder(folder)


@pytest.mark.parametrize(("kind", "names"), [("teacher", ("weak", "strong")), ("student", ("weak",))])
def test_a_trained_model_knows_what_it_reads(tmp_path: Path, kind: str, names: tuple[str, ...]) -> None:
    kinds = TEACHERS if kind == "teacher" else STUDENTS
    model = kinds[getattr(ModelConfig(), kind)](SCHEMA, ModelConfig(width=8))
    metadata = {"kind": kind, "schema": SCHEMA.to_dict(), "model": asdict(ModelConfig(width=8))}
    save_model(RunFolder(tmp_path).best, model, metadata)
    trained = load_trained(RunFolder(tmp_path), kinds, kind)
    assert (trained.schema, trained.names, trained.width) == (SCHEMA, names, 8)
    assert trained.network(torch.device("cpu")).names == names
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in trained.model.state_dict().items())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "student"}, "holds a student, not a teacher"),
        ({"kind": None}, "holds a model of an unknown kind, not a teacher"),
        ({"schema": None}, "metadata that this version cannot read"),
        ({"model": {"width": 8, "layers": 3}}, "metadata that this version cannot read"),
        ({"model": {"width": -1}}, "metadata that this version cannot read"),
        ({"model": asdict(ModelConfig(width=6, teacher="concat"))}, "does not fit the teacher 'concat'"),
    ],
)
def test_what_is_no_teacher_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_trained(saved(tmp_path, **changed), TEACHERS, "teacher")


def test_a_teacher_that_is_not_registered_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trained with the teacher 'concat', which is not registered here"):
        load_trained(saved(tmp_path), {}, "teacher")
