"""Saving and reading states and models: in one step, with a digest, and without running what a file contains."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pkdot.storage import write_bytes, write_text


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state of tensors and plain values, replacing the older one only when it is on the disk."""
    content = io.BytesIO()
    torch.save({"digest": digest(state), "state": state}, content)
    write_bytes(path, content.getbuffer())


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote. Raises ``ValueError`` for a file that is damaged or something else."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, Any] = saved["state"]
        intact = saved["digest"] == digest(state)
    except Exception as error:  # whatever a damaged file leads to
        raise ValueError(f"{path}: not a readable checkpoint ({_first_line(error)}).") from error
    if not intact:
        raise ValueError(f"{path}: damaged checkpoint, its content does not match its digest.")
    return state


def save_model(path: Path, model: nn.Module, metadata: dict[str, Any]) -> None:
    """Write a model's weights as safetensors with ``metadata`` in the header, and the metadata beside it as JSON."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    metadata = {**metadata, "sha256": digest(tensors)}
    metadata["metadata_sha256"] = _metadata_digest(metadata)
    write_bytes(path, save(tensors, {"pkdot": json.dumps(metadata)}))
    write_text(path.with_suffix(".json"), json.dumps(metadata, indent=2) + "\n")


def load_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and metadata. Raises ``ValueError`` for a file that is missing, damaged or something else."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a run writes it after its first epoch.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["pkdot"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            intact = digest(tensors) == metadata["sha256"]
            told = metadata.pop("metadata_sha256", None)  # models of older versions have none
            same = told is None or told == _metadata_digest(metadata)
    except Exception as error:  # whatever a damaged header leads to
        raise ValueError(f"{path}: not a readable model ({_first_line(error)}).") from error
    if not intact:
        raise ValueError(f"{path}: damaged model, its weights do not match their digest.")
    if not same:
        raise ValueError(f"{path}: damaged model, its metadata does not match its digest.")
    return tensors, metadata


def _metadata_digest(metadata: dict[str, Any]) -> str:
    # Through JSON, which is how it is read again: tuples are lists there.
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()


def digest(value: Any) -> str:
    """SHA-256 over names, shapes, types and contents of a nest of dicts, lists, tensors and plain values.

    Hashing the file instead would call two equal states different: ``torch.save`` writes the file's name into it.
    """
    hasher = hashlib.sha256()
    _feed(hasher, value)
    return hasher.hexdigest()


def _feed(hasher: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous()
        hasher.update(f"tensor {content.dtype} {tuple(content.shape)};".encode())
        hasher.update(content.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, dict):
        for key in sorted(value, key=repr):
            hasher.update(f"key {key!r};".encode())
            _feed(hasher, value[key])
    elif isinstance(value, list | tuple):
        hasher.update(f"sequence {len(value)};".encode())
        for item in value:
            _feed(hasher, item)
    else:
        hasher.update(f"{value!r};".encode())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
