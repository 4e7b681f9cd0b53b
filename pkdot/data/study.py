"""A study: a data set that is split and labelled, with a loader for each use."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from pkdot.config import DataConfig, OptimConfig
from pkdot.data.batch import MultimodalDataset, Record, Schema
from pkdot.data.content import Opened
from pkdot.data.loader import Loader
from pkdot.data.memory import SampleMemory
from pkdot.data.noise import with_label_noise
from pkdot.data.read_ahead import memory_for
from pkdot.data.splits import Splits, labelled_mask, split_dataset


@dataclass
class Study:
    """A data set with its splits and labels, as training, selection and testing use them.

    Opening it reads records only; the test split's files are read through :meth:`test`.

    Attributes:
        opened: the data set as it is on the disk.
        dataset: the same, with label noise where that was asked for.
        schema: of the data set, with the task loss that was asked for.
        labelled: ``(n,)`` bool, which records keep their label.
    """

    opened: Opened
    dataset: MultimodalDataset
    schema: Schema
    splits: Splits
    labelled: np.ndarray
    config: DataConfig
    batch_size: int
    seed: int
    memory: SampleMemory = field(repr=False)

    def train(self) -> Loader:
        """The training split: shuffled, augmented, unlabelled pairs included."""
        return self._loader(self.splits.train, shuffle=True, augment=self.config.augment)

    def train_clean(self) -> Loader:
        """The training split in order, as it is on the disk."""
        return self._loader(self.splits.train)

    def validation(self) -> Loader:
        """The validation split, which selects the model."""
        return self._loader(self.splits.val)

    def test(self) -> Loader:
        """The test split, to be read once the model is selected."""
        return self._loader(self.splits.test)

    def _loader(self, indices: np.ndarray, *, shuffle: bool = False, augment: bool = False) -> Loader:
        return Loader(
            self.dataset,
            indices,
            self.labelled,
            batch_size=self.batch_size,
            seed=self.seed,
            shuffle=shuffle,
            augment=augment,
            workers=self.config.workers,
            memory=self.memory,
        )

    def records(self, indices: np.ndarray) -> list[Record]:
        """The records of a split, in its order."""
        return [self.dataset.records[int(index)] for index in indices]

    def targets(self, indices: np.ndarray) -> list[tuple[float, ...]]:
        """The targets of a split's labelled records."""
        known = self.records(indices[self.labelled[indices]])
        return [record.target for record in known if record.target is not None]

    @property
    def label_share(self) -> float:
        """Share of the training samples that have a label."""
        return float(self.labelled[self.splits.train].mean())

    @property
    def content_digest(self) -> str:
        """Names what the data set consists of, byte by byte. Raises ``ValueError`` for a file that cannot be read."""
        return self.opened.digest

    @cached_property
    def split_digest(self) -> str:
        """Names which samples are trained, selected and tested on; equal for a teacher and its students."""
        parts = (self.splits.train, self.splits.val, self.splits.test)
        return _digest([[record.id for record in self.records(part)] for part in parts])

    @cached_property
    def label_digest(self) -> str:
        """Names which training samples have a label, and which."""
        labelled = self.splits.train[self.labelled[self.splits.train]]
        return _digest([[record.id, record.target] for record in self.records(labelled)])


def open_study(data: DataConfig, optim: OptimConfig, seed: int, opened: Opened | None = None) -> Study:
    """Open a data set unless it is given, split and label it. Raises ``ValueError`` for what cannot be trained on."""
    opened = opened or Opened.of(data)
    dataset = opened.dataset
    schema = replace(dataset.schema, task=dataset.schema.task.with_loss(optim.task_loss))
    splits = split_dataset(dataset.records, data)
    label_seed = data.split_seed if data.label_seed is None else data.label_seed
    labelled = labelled_mask(dataset.records, splits, data.labels, label_seed, by=data.labels_by)
    for name, indices in (("training", splits.train), ("validation", splits.val), ("test", splits.test)):
        if not labelled[indices].any():
            raise ValueError(f"{schema.name}: no sample of the {name} split has a label.")
    if data.label_noise > 0:
        dataset = with_label_noise(dataset, splits.train[labelled[splits.train]], data.label_noise, label_seed)
    if schema.task.kind == "regression":
        known = [dataset.records[int(index)].target for index in splits.train if labelled[index]]
        schema = replace(schema, task=schema.task.with_units(torch.tensor(known)))
    return Study(opened, dataset, schema, splits, labelled, data, optim.batch_size, seed, memory_for(data))


def check_same_data(run: Path, schema: Schema, split_digest: str, study: Study) -> None:
    """Raise ``ValueError`` unless a teacher read the same modalities and held out the same samples."""
    check_schema(run, schema, study.schema)
    if split_digest != study.split_digest:
        raise ValueError(
            f"{run}: this teacher was trained on another data set or split than {study.config.source!r} with "
            f"split_seed {study.config.split_seed}; it may have seen the test subjects."
        )


def check_schema(run: Path, trained: Schema, given: Schema, names: tuple[str, ...] | None = None) -> None:
    """Raise ``ValueError`` naming the first thing in which the data differs from what a model was trained on.

    ``names`` are the modalities that the model reads; None means all.
    """
    if not trained.task.same_question(given.task):
        raise ValueError(f"{run}: trained for {_task(trained)}, but {given.name!r} has {_task(given)}.")
    for name in trained.modalities if names is None else names:
        modality = trained.modalities[name]
        if name not in given.modalities:
            raise ValueError(f"{run}: trained on modality {name!r}, which {given.name!r} does not have.")
        other = given.modalities[name]
        if (modality.kind, modality.shape) != (other.kind, other.shape):
            raise ValueError(
                f"{run}: trained on {name!r} as {modality.kind} {modality.shape}, "
                f"but {given.name!r} has {other.kind} {other.shape}."
            )


def _task(schema: Schema) -> str:
    task = schema.task
    names = ", ".join(task.classes or task.targets)
    return f"{task.kind} of {names} ({task.loss})"


def _digest(names: object) -> str:
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
