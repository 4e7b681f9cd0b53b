"""The frozen teacher of a student: in eval mode, without gradients, looked up where its input does not change."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Batch, Schema
from pkdot.data.loader import Loader
from pkdot.model import Output
from pkdot.teachers import TEACHERS
from pkdot.training.checkpoints import load_model
from pkdot.training.evaluation import Predictions, predict, run_model
from pkdot.training.run_folder import RunFolder


@dataclass(frozen=True)
class TrainedModel:
    """A model from a run folder, with what its metadata says of it."""

    model: nn.Module
    schema: Schema
    metadata: dict[str, Any]


def load_trained(folder: RunFolder, kinds: dict[str, type[nn.Module]], kind: str) -> TrainedModel:
    """Rebuild the selected model of a run. Raises ``ValueError`` if it is of another kind or does not load."""
    tensors, metadata = load_model(folder.best)
    if metadata.get("kind") != kind:
        raise ValueError(f"{folder.path}: holds a {metadata.get('kind', 'model of an unknown kind')}, not a {kind}.")
    with blamed_on(folder.best, "metadata that this version cannot read"):
        schema, config = Schema.from_dict(metadata["schema"]), model_config(metadata["model"])
        name = getattr(config, kind)
    if name not in kinds:
        raise ValueError(f"{folder.path}: was trained with the {kind} {name!r}, which is not registered here.")
    with blamed_on(folder.best, f"does not fit the {kind} {name!r}"):
        check_fits(tensors, kinds[name], schema, config)
        model = kinds[name](schema, config)
        model.load_state_dict(tensors)
    return TrainedModel(model, schema, metadata)


def check_fits(tensors: dict[str, Tensor], kind: type[nn.Module], schema: Schema, config: ModelConfig) -> None:
    """Raise ``ValueError`` unless the weights are those of such a model, before memory is taken for one.

    What the metadata of a damaged file asks for could be of any size. A model that can only be built with its values
    is not looked at.
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
    """Raise whatever a file's content leads to as a ``ValueError`` that names the file."""
    try:
        yield
    except Exception as error:
        told = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ValueError(f"{path}: {problem} ({told}).") from error


def model_config(plain: dict[str, Any]) -> ModelConfig:
    """The config of a saved model; its weights are in the file already, so none are loaded from elsewhere."""
    return ModelConfig(**{**plain, "weights": None})


class FrozenTeacher:
    """Answers for a batch: from memory, by sample id, after :meth:`remember`, otherwise by a forward pass."""

    def __init__(self, model: nn.Module, schema: Schema, width: int, device: torch.device) -> None:
        self._model = model.to(device).eval().requires_grad_(False)
        self.schema, self.width = schema, width
        self._names = tuple(schema.modalities)
        self._device = device
        self._rows: dict[str, int] = {}
        self._known: Predictions | None = None

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "FrozenTeacher":
        """The teacher of a run folder."""
        trained = load_trained(RunFolder(path), TEACHERS, "teacher")
        return cls(trained.model, trained.schema, model_config(trained.metadata["model"]).width, device)

    def predict(self, loader: Loader) -> Predictions:
        """The teacher's answers for all samples of a loader."""
        return predict(self._model, loader, self._names, self._device)

    def remember(self, loader: Loader) -> Predictions:
        """Run over a loader whose samples do not change, once; returns what it will answer from."""
        self._known = self.predict(loader)
        self._rows = {name: row for row, name in enumerate(self._known.ids)}
        return self._known

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Output:
        """The teacher's output for a batch."""
        if self._known is None:
            self._model.eval()
            return run_model(self._model, batch, self._names, self._device)
        rows = torch.tensor([self._rows[name] for name in batch.ids])
        streams = {name: stream[rows].to(self._device) for name, stream in self._known.streams.items()}
        return Output(
            self._known.embedding[rows].to(self._device), self._known.prediction[rows].to(self._device), streams
        )
