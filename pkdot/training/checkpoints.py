"""The state of a training on the disk, with a digest. Reading it never runs code that the file contains."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pkdot.storage import write_bytes


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values. The older file stays until the new one is complete on the disk.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_state(Path(folder, "last.pt"), {"weights": torch.zeros(2), "epoch": 3})
    ...     [path.name for path in Path(folder).iterdir()]
    ['last.pt']
    """
    content = io.BytesIO()
    torch.save({"digest": digest(state), "state": state}, content)
    write_bytes(path, content.getbuffer())


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote. Raises ``ValueError`` if the file is damaged or holds no state.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_state(Path(folder, "last.pt"), {"epoch": 3})
    ...     load_state(Path(folder, "last.pt"))
    {'epoch': 3}
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, Any] = saved["state"]
        intact = saved["digest"] == digest(state)
    except Exception as error:  # a damaged file can lead to any of them
        raise ValueError(f"{path}: not a readable checkpoint ({first_line(error)}).") from error
    if not intact:
        raise ValueError(f"{path}: damaged checkpoint, its content does not match its digest.")
    return state


def digest(value: Any) -> str:
    """SHA-256 of nested dicts, lists, tensors and plain values: their names, shapes, types and contents.

    A hash of the file is no substitute: ``torch.save`` writes the file's name into it, so equal states would differ.

    >>> digest({"a": torch.zeros(2), "b": 1}) == digest({"b": 1, "a": torch.zeros(2)})
    True
    >>> digest(torch.zeros(2)) == digest(torch.zeros(2, 1))
    False
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


def first_line(error: Exception) -> str:
    r"""The first line of an error's message, or the error's type if it has no message.

    >>> first_line(ValueError("no such layer\nsee above")), first_line(KeyError())
    ('no such layer', 'KeyError')
    """
    return next(iter(str(error).splitlines()), "") or type(error).__name__
