"""A trained model, built again from its file."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.training.model_file import blamed_on, check_fits, load_model
from pkdot.training.network import Network
from pkdot.training.run_folder import RunFolder


@dataclass(frozen=True)
class TrainedModel:
    """The selected model of a run, with the metadata of its file.

    Attributes:
        model: the model with its trained weights.
        schema: the schema of the data that it was trained on.
        metadata: kind, settings, data, splits, best epoch and validation metrics.
    """

    model: nn.Module
    schema: Schema
    metadata: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities that the model reads: all for a teacher, the prevalent ones for a student."""
        return tuple(self.schema.modalities) if self.metadata["kind"] == "teacher" else self.schema.prevalent

    @property
    def width(self) -> int:
        """The width of its embedding."""
        return model_config(self.metadata["model"]).width

    def network(self, device: torch.device) -> Network:
        """The model on a device, ready to answer batches."""
        return Network(self.model.to(device), self.names, device)


def load_trained(folder: RunFolder, kinds: dict[str, type[nn.Module]], kind: str) -> TrainedModel:
    """Build the selected model of a run again.

    Args:
        folder: the run folder.
        kinds: the models of this kind by their names: ``TEACHERS`` or ``STUDENTS``.
        kind: "teacher" or "student".

    Raises:
        ValueError: the run holds a model of another kind, or its file is damaged or does not fit.
    """
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


def model_config(plain: dict[str, Any]) -> ModelConfig:
    """The settings of a saved model. Its file holds all weights, so none are loaded from elsewhere.

    >>> model_config({"width": 8, "weights": "r3d.pt"}).weights is None
    True
    """
    return ModelConfig(**{**plain, "weights": None})
