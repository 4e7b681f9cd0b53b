"""Schemas and batches small enough to run every model on within a test."""

import torch
from torch import Tensor

from pkdot.config import ModelConfig
from pkdot.data.batch import Modality, Schema
from pkdot.tasks import Task

MODALITIES = {
    "face": Modality("video", (3, 4, 12, 12), 25.0),
    "body": Modality("signal", (2, 100), 50.0),
    "voice": Modality("audio", (1600,), 4000.0),
    "scene": Modality("image", (3, 16, 16)),
    "notes.v2": Modality("vector", (5,)),
}
TASK = Task("classification", ("pain",), ("no", "some", "much"))


def toy_schema(*names: str, prevalent: tuple[str, ...] | None = None) -> Schema:
    """A schema of the named modalities; by default the first one is prevalent."""
    chosen = prevalent or names[:1]
    privileged = tuple(name for name in names if name not in chosen)
    return Schema("toy", TASK, {name: MODALITIES[name] for name in names}, chosen, privileged)


def toy_config(**more: str | int) -> ModelConfig:
    return ModelConfig(**{"width": 8, **more})


def toy_batch(schema: Schema, size: int = 6, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand((size, *modality.shape), generator=generator) for name, modality in schema.modalities.items()
    }


def rows(modalities: dict[str, Tensor], index: slice | Tensor) -> dict[str, Tensor]:
    return {name: x[index] for name, x in modalities.items()}
