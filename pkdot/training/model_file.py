"""The safetensors file of a trained model. Its header, and a JSON file beside it, describe the model."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.storage import write_bytes, write_text
from pkdot.training.checkpoints import digest, first_line


def save_model(path: Path, model: nn.Module, metadata: dict[str, Any]) -> None:
    """Write a model's weights as safetensors, with ``metadata`` in the header and in a JSON file beside it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_model(Path(folder, "best.safetensors"), nn.Linear(3, 2), {"kind": "teacher"})
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['best.json', 'best.safetensors']
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    metadata = {**metadata, "sha256": digest(tensors)}
    metadata["metadata_sha256"] = _metadata_digest(metadata)
    write_bytes(path, save(tensors, {"pkdot": json.dumps(metadata)}))
    write_text(path.with_suffix(".json"), json.dumps(metadata, indent=2) + "\n")


def load_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and metadata. Raises ``ValueError`` if the file is missing or damaged, or holds no model.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_model(Path(folder, "best.safetensors"), nn.Linear(3, 2), {"kind": "teacher"})
    ...     weights, metadata = load_model(Path(folder, "best.safetensors"))
    >>> sorted(weights), metadata["kind"]
    (['bias', 'weight'], 'teacher')
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a run writes it after its first epoch.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["pkdot"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            intact = digest(tensors) == metadata["sha256"]
            told = metadata.pop("metadata_sha256", None)  # models of older versions have none
            same = told is None or told == _metadata_digest(metadata)
    except Exception as error:  # a damaged header can lead to any of them
        raise ValueError(f"{path}: not a readable model ({first_line(error)}).") from error
    if not intact:
        raise ValueError(f"{path}: damaged model, its weights do not match their digest.")
    if not same:
        raise ValueError(f"{path}: damaged model, its metadata does not match its digest.")
    return tensors, metadata


def _metadata_digest(metadata: dict[str, Any]) -> str:
    # The file is read as JSON, which turns tuples into lists: hash what will be read.
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()


def check_fits(tensors: dict[str, Tensor], kind: type[nn.Module], schema: Schema, config: ModelConfig) -> None:
    """Raise ``ValueError`` unless the weights have the names and shapes of such a model.

    Call it before the model is built: a damaged file could ask for a model of any size. The check builds it on the
    meta device, which takes no RAM; a model that cannot be built there is not checked.

    Args:
        tensors: the weights.
        kind: the class of the model.
        schema: of the data that it was trained on.
        config: its settings.

    >>> from pkdot.data.batch import Modality
    >>> from pkdot.students import STUDENTS
    >>> from pkdot.tasks import Task
    >>> schema = Schema("toy", Task("regression", ("y",)), {"x": Modality("vector", (4,))}, ("x",), ())
    >>> weights = STUDENTS["visual"](schema, ModelConfig(width=8)).state_dict()
    >>> check_fits(weights, STUDENTS["visual"], schema, ModelConfig(width=8))
    """
    try:
        with torch.device("meta"):
            planned = kind(schema, config).state_dict()
    except (RuntimeError, TypeError):
        return
    for name in dict.fromkeys([*planned, *tensors]):
        shapes = [tuple(found[name].shape) if name in found else None for found in (tensors, planned)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{name} has shape {shapes[0]}, expected {shapes[1]}")


@contextmanager
def blamed_on(path: Path, problem: str) -> Iterator[None]:
    """Turn every error in the block into a ``ValueError`` that names the file and the problem.

    >>> with blamed_on(Path("best.safetensors"), "metadata that this version cannot read"):
    ...     {}["model"]
    Traceback (most recent call last):
    ValueError: best.safetensors: metadata that this version cannot read ('model').
    """
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path}: {problem} ({first_line(error)}).") from error
