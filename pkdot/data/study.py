"""A study: a data set that is split and labelled, with a loader for each purpose."""

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
    """A data set with its splits and labels: what training, model selection and testing read.

    :func:`open_study` makes it from the configs. Opening reads the records only. The files of the test split are read
    by :meth:`test` and by nothing else.

    >>> from types import SimpleNamespace
    >>> from pkdot.tasks import Task
    >>> schema = Schema("toy", Task("regression", ("y",)), {}, (), ())
    >>> records = [Record(f"r{i}", f"p{i}", (float(i),)) for i in range(3)]
    >>> study = open_study(DataConfig(), OptimConfig(), 0, Opened(SimpleNamespace(schema=schema, records=records)))
    >>> [record.id for record in study.records(study.splits.test)], study.targets["test"]
    (['r1'], [(1.0,)])

    Attributes:
        opened: the data set as it is on the disk, with its content digest.
        dataset: the same data set, with label noise if the config asks for it.
        schema: the data set's schema, with the task loss of the config and, for a regression, the targets' units.
        splits: the records for training, for model selection and for testing.
        labelled: ``(N,)`` bool, the records whose label may be used.
        config: the settings of the data.
        batch_size: of every loader.
        seed: of the training loader's order and augmentation.
        memory: the samples kept in RAM, shared by all loaders.
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
        """The training split, shuffled and augmented, with its unlabelled samples."""
        return self._loader(self.splits.train, shuffle=True, augment=self.config.augment)

    def train_clean(self) -> Loader:
        """The training split in order, without augmentation."""
        return self._loader(self.splits.train)

    def validation(self) -> Loader:
        """The validation split, on which the model is selected."""
        return self._loader(self.splits.val)

    def test(self) -> Loader:
        """The test split. Read it once, after the model is selected."""
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
        """The records with these indices, in that order."""
        return [self.dataset.records[int(index)] for index in indices]

    @cached_property
    def targets(self) -> dict[str, list[tuple[float, ...]]]:
        """The targets of the labelled records of each split: "train", "val" and "test"."""
        parts = {"train": self.splits.train, "val": self.splits.val, "test": self.splits.test}
        known = {name: self.records(indices[self.labelled[indices]]) for name, indices in parts.items()}
        return {name: [each.target for each in records if each.target is not None] for name, records in known.items()}

    @property
    def label_share(self) -> float:
        """The share of the training samples whose label may be used."""
        return float(self.labelled[self.splits.train].mean())

    @property
    def content_digest(self) -> str:
        """A digest of every byte of the data set. Raises ``ValueError`` if a file cannot be read."""
        return self.opened.digest

    @cached_property
    def split_digest(self) -> str:
        """A digest of the three splits. A teacher and its students have the same one."""
        parts = (self.splits.train, self.splits.val, self.splits.test)
        return _digest([[record.id for record in self.records(part)] for part in parts])

    @cached_property
    def label_digest(self) -> str:
        """A digest of the labels that training may use, and of the samples that have them."""
        labelled = self.splits.train[self.labelled[self.splits.train]]
        return _digest([[record.id, record.target] for record in self.records(labelled)])


def open_study(data: DataConfig, optim: OptimConfig, seed: int, opened: Opened | None = None) -> Study:
    """Open a data set, split it, and choose the labels that may be used.

    Args:
        data: which data, and how it is split and labelled.
        optim: gives the batch size and the task loss.
        seed: of the run.
        opened: the data set, if the caller has opened it already.

    Raises:
        ValueError: the data set cannot be opened or split, or a split has no label.

    Example:
        >>> from types import SimpleNamespace
        >>> from pkdot.data.batch import Modality
        >>> from pkdot.tasks import Task
        >>> schema = Schema("toy", Task("regression", ("y",)), {"x": Modality("vector", (2,))}, ("x",), ())
        >>> records = [Record(f"r{i}", f"p{i % 5}", (float(i),)) for i in range(10)]
        >>> toy = SimpleNamespace(schema=schema, records=records, read=lambda index: {"x": torch.ones(2)})
        >>> study = open_study(DataConfig(), OptimConfig(batch_size=4), seed=0, opened=Opened(toy))
        >>> [len(part) for part in (study.splits.train, study.splits.val, study.splits.test)]
        [4, 2, 4]
        >>> next(study.test().epoch(0)).modalities["x"].shape
        torch.Size([4, 2])
    """
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
    """Check that a teacher was trained on the same modalities and the same splits.

    Raises:
        ValueError: with the first difference.

    Example:
        >>> from types import SimpleNamespace
        >>> from pkdot.tasks import Task
        >>> schema = Schema("toy", Task("regression", ("y",)), {}, (), ())
        >>> study = SimpleNamespace(schema=schema, split_digest="6b86", config=DataConfig(source="mydata"))
        >>> check_same_data(Path("runs/1"), schema, "d473", study)
        Traceback (most recent call last):
        ValueError: runs/1: this teacher was trained on another data set or split than 'mydata' with split_seed 0; ...
    """
    check_schema(run, schema, study.schema)
    if split_digest != study.split_digest:
        raise ValueError(
            f"{run}: this teacher was trained on another data set or split than {study.config.source!r} with "
            f"split_seed {study.config.split_seed}; it may have seen the test subjects."
        )


def check_schema(run: Path, trained: Schema, given: Schema, names: tuple[str, ...] | None = None) -> None:
    """Check that a model trained on data with schema ``trained`` can read data with schema ``given``.

    Args:
        run: the model's run folder, for the message.
        trained: the schema in the model's checkpoint.
        given: the schema of the data.
        names: the modalities that the model reads; None means all.

    Raises:
        ValueError: with the first difference in task, modalities, kinds or shapes.

    Example:
        >>> from pkdot.data.batch import Modality
        >>> from pkdot.tasks import Task
        >>> task = Task("regression", ("y",))
        >>> first = Schema("first", task, {"x": Modality("vector", (2,))}, ("x",), ())
        >>> second = Schema("second", task, {"x": Modality("vector", (5,))}, ("x",), ())
        >>> check_schema(Path("runs/1"), first, second)
        Traceback (most recent call last):
        ValueError: runs/1: trained on 'x' as vector (2,), but 'second' has vector (5,).
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
