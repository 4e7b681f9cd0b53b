"""From a data set and indices to batches, in an order that depends on (seed, epoch) only."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from tqdm.auto import tqdm

from pkdot.data.augment import augment_sample, augment_vectors, to_unit
from pkdot.data.batch import Batch, MultimodalDataset, ReadsTogether, Record, Schema
from pkdot.data.files import is_sound
from pkdot.data.memory import Sample, SampleMemory

_READ_AT_ONCE = 512
"""Samples that :meth:`Loader.preload` reads between two updates of its progress bar."""


@dataclass
class Loader:
    """Reads some of a data set's samples in batches.

    >>> from types import SimpleNamespace
    >>> from pkdot.data.batch import Modality
    >>> from pkdot.tasks import Task
    >>> schema = Schema("toy", Task("regression", ("y",)), {"x": Modality("vector", (2,))}, ("x",), ())
    >>> records = [Record(f"r{i}", "anna", (float(i),)) for i in range(5)]
    >>> toy = SimpleNamespace(schema=schema, records=records, read=lambda index: {"x": torch.ones(2)})
    >>> loader = Loader(toy, np.arange(5), np.ones(5, bool), batch_size=3)
    >>> [batch.ids for batch in loader.epoch(0)]
    [('r0', 'r1', 'r2'), ('r3', 'r4')]

    Attributes:
        dataset: where the samples come from.
        indices: ``(n,)`` int64, the records to read.
        labelled: ``(N,)`` bool for all N records of the data set; False where a record has no target, or one that
            must not be used.
        batch_size: largest number of samples in a batch. The last batch may be smaller; if it were a single sample,
            all batches get about the same size instead.
        seed: decides the order and the augmentation, together with the epoch and the sample's index. The number of
            workers makes no difference.
        shuffle: draw a new order for each epoch; otherwise samples come in the order of ``indices``.
        augment: augment each sample anew in each epoch (:mod:`pkdot.data.augment`).
        workers: number of processes that read; 0 reads in this process. Workers use the samples in the memory but
            add none.
        memory: keeps samples in RAM for the next epochs.
    """

    dataset: MultimodalDataset
    indices: np.ndarray
    labelled: np.ndarray
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    augment: bool = False
    workers: int = 0
    memory: SampleMemory = field(default_factory=lambda: SampleMemory(0))

    def __len__(self) -> int:
        return len(self._batches(0))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from batch number ``start`` on; earlier batches are not read.

        Raises:
            ValueError: a sample cannot be read, has the wrong shape, or is not finite.
        """
        batches = self._batches(epoch)[start:]
        if self.workers == 0 or not batches:
            for indices in batches:
                yield self._read_batch(indices, epoch)
            return
        reader = DataLoader(
            _Reader(self, epoch),
            batch_size=None,
            sampler=batches,
            num_workers=min(self.workers, len(batches)),
            generator=torch.Generator().manual_seed(0),  # leaves torch's global generator alone
        )
        for batch in reader:
            if isinstance(batch, ValueError):
                raise batch
            yield batch

    def preload(self) -> None:
        """Read samples into the memory until it is full. Raises ``ValueError`` for the first bad sample.

        Samples that the data set reads together are checked but not kept: they lie in arrays, which the system keeps
        in RAM by itself.
        """
        waiting = [int(index) for index in self.indices if self.memory.get(int(index)) is None]
        if self.memory.limit_mb <= 0:
            return
        with tqdm(total=len(waiting), desc="reading", unit="sample", disable=None, leave=False) as bar:
            for first in range(0, len(waiting), _READ_AT_ONCE):
                part = waiting[first : first + _READ_AT_ONCE]
                if self._read_together(part) is None and not all(
                    self.memory.add(index, self._read(index)) for index in part
                ):
                    return
                bar.update(len(part))

    def _batches(self, epoch: int) -> list[list[int]]:
        order = self.indices
        if self.shuffle:
            order = np.random.default_rng(np.random.SeedSequence([self.seed, epoch])).permutation(order)
        count, size = len(order), self.batch_size
        if count % size == 1:
            # A batch of one sample would count as much as a full one, and batch normalisation needs a variance.
            return [batch.tolist() for batch in np.array_split(order, math.ceil(count / size))]
        return [order[first : first + size].tolist() for first in range(0, count, size)]

    def _read_batch(self, indices: list[int], epoch: int) -> Batch:
        schema, records = self.dataset.schema, [self.dataset.records[index] for index in indices]
        together = self._read_together(indices)
        if together is not None:
            modalities = {name: _to_float(rows, schema.modalities[name].kind) for name, rows in together.items()}
            present = {name: torch.ones(len(indices), dtype=torch.bool) for name in together}
            return _batch(modalities, present, records, self.labelled[indices], schema)
        samples = [self._sample(index) for index in indices]
        if not self.augment:
            return collate(samples, records, self.labelled[indices], schema)
        generators = [sample_generator(self.seed, epoch, index) for index in indices]
        augmented = [
            augment_sample(sample, schema, generator) for sample, generator in zip(samples, generators, strict=True)
        ]
        batch = collate(augmented, records, self.labelled[indices], schema)
        noisy = {
            name: augment_vectors(batch.modalities[name], batch.present[name], generators)
            for name, modality in schema.modalities.items()
            if modality.kind == "vector"
        }
        return replace(batch, modalities=batch.modalities | noisy)

    def _read_together(self, indices: list[int]) -> dict[str, Tensor] | None:
        """Unaugmented samples, stacked; None if they have to be read one by one: a bad one is then found and named."""
        if self.augment or not isinstance(self.dataset, ReadsTogether):
            return None
        found = self.dataset.read_together(indices)
        modalities = self.dataset.schema.modalities
        if found is None or found.keys() != modalities.keys():
            return None
        return found if all(is_sound(found[name], modality) for name, modality in modalities.items()) else None

    def _sample(self, index: int) -> Sample:
        kept = self.memory.get(index)
        if kept is not None:
            return kept
        sample = self._read(index)
        if get_worker_info() is None:
            self.memory.add(index, sample)
        return sample

    def _read(self, index: int) -> Sample:
        sample = self.dataset.read(index)
        check_sample(sample, self.dataset.records[index], self.dataset.schema)
        return sample


def sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """The random generator for the augmentation of one sample in one epoch.

    >>> [sample_generator(0, epoch=1, index=index).initial_seed() % 100 for index in (2, 2, 3)]
    [2, 2, 51]
    """
    # The spawn key keeps these numbers apart from those that shuffle, which have the same seed.
    sequence = np.random.SeedSequence([seed, epoch, index], spawn_key=(1,))
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))


def check_sample(sample: Sample, record: Record, schema: Schema) -> None:
    """Check one sample against the schema.

    Raises:
        ValueError: a modality is unknown, has the wrong shape or is not finite; the message names sample and modality.

    Example:
        >>> from pkdot.data.batch import Modality
        >>> from pkdot.tasks import Task
        >>> schema = Schema("toy", Task("regression", ("y",)), {"x": Modality("vector", (2,))}, ("x",), ())
        >>> check_sample({"x": torch.ones(3)}, Record("r7", "anna", None), schema)
        Traceback (most recent call last):
        ValueError: sample 'r7', modality 'x': expected shape (2,), got (3,).
    """
    for name, tensor in sample.items():
        where = f"sample {record.id!r}, modality {name!r}"
        if name not in schema.modalities:
            raise ValueError(f"{where}: not a modality of {schema.name!r} ({', '.join(schema.modalities)}).")
        expected = schema.modalities[name].shape
        if tuple(tensor.shape) != expected:
            raise ValueError(f"{where}: expected shape {expected}, got {tuple(tensor.shape)}.")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            position = tuple(int(i) for i in (~tensor.isfinite()).nonzero()[0])
            raise ValueError(f"{where}: expected finite numbers, got {float(tensor[position])} at {position}.")


def collate(samples: Sequence[Sample], records: Sequence[Record], labelled: np.ndarray, schema: Schema) -> Batch:
    """Stack samples into a batch. uint8 becomes float32 in [0, 1]; a missing modality becomes a row of zeros.

    The target of an unlabelled sample is 0, whatever its record says, so that no loss can see it by mistake.

    >>> from pkdot.data.batch import Modality
    >>> from pkdot.tasks import Task
    >>> schema = Schema("toy", Task("regression", ("y",)), {"x": Modality("vector", (2,))}, ("x",), ())
    >>> records = [Record("a", "anna", (0.5,)), Record("b", "bert", (0.7,))]
    >>> batch = collate([{"x": torch.ones(2)}, {}], records, np.array([True, False]), schema)
    >>> batch.modalities["x"].tolist(), batch.present["x"].tolist(), batch.target.tolist()
    ([[1.0, 1.0], [0.0, 0.0]], [True, False], [[0.5], [0.0]])
    """
    modalities, present = {}, {}
    for name, modality in schema.modalities.items():
        mask = torch.tensor([name in sample for sample in samples])
        rows = [sample.get(name) for sample in samples]
        if all(row is not None and row.dtype == torch.uint8 for row in rows):
            stacked = to_unit(torch.stack([row for row in rows if row is not None]))
        else:
            empty = torch.zeros(modality.shape)
            stacked = torch.stack([empty if row is None else _to_float(row, modality.kind) for row in rows])
        modalities[name], present[name] = stacked, mask
    return _batch(modalities, present, records, labelled, schema)


def _batch(
    modalities: dict[str, Tensor],
    present: dict[str, Tensor],
    records: Sequence[Record],
    labelled: np.ndarray,
    schema: Schema,
) -> Batch:
    known = torch.from_numpy(np.ascontiguousarray(labelled, dtype=bool))
    return Batch(tuple(record.id for record in records), modalities, present, _targets(records, known, schema), known)


def _to_float(tensor: Tensor, kind: str) -> Tensor:
    return to_unit(tensor) if kind in ("image", "video") else tensor.float()


def _targets(records: Sequence[Record], known: Tensor, schema: Schema) -> Tensor:
    width = len(schema.task.targets)
    rows = [
        record.target if keep and record.target is not None else (0.0,) * width
        for record, keep in zip(records, known.tolist(), strict=True)
    ]
    if schema.task.kind == "regression":
        return torch.tensor(rows, dtype=torch.float32)
    return torch.tensor([int(row[0]) for row in rows], dtype=torch.int64)


class _Reader(Dataset[Batch | ValueError]):
    """Reads whole batches in a worker process.

    An error is returned, not raised: torch would wrap the worker's traceback around its message.
    """

    def __init__(self, loader: Loader, epoch: int) -> None:
        self._loader, self._epoch = loader, epoch

    def __getitem__(self, indices: list[int]) -> Batch | ValueError:
        try:
            return self._loader._read_batch(indices, self._epoch)
        except ValueError as error:
            return ValueError(str(error))
