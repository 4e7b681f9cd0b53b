"""Label noise: deliberately wrong training labels, to test how a method copes with unreliable annotations."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from pkdot.data.batch import MultimodalDataset, ReadsTogether, Record


class Relabelled:
    """A data set with other records; its samples are those of ``source``.

    >>> from types import SimpleNamespace
    >>> source = SimpleNamespace(schema=None, records=[Record("a", "anna", (0.0,))], read=lambda index: {})
    >>> Relabelled(source, [Record("a", "anna", (1.0,))]).records[0].target
    (1.0,)
    """

    def __init__(self, source: MultimodalDataset, records: Sequence[Record]) -> None:
        self.source, self.records, self.schema = source, records, source.schema

    def read(self, index: int) -> dict[str, Tensor]:
        """Read a sample of the source."""
        return self.source.read(index)

    def read_together(self, indices: Sequence[int]) -> dict[str, Tensor] | None:
        """Read several samples of the source at once; None if it cannot."""
        return self.source.read_together(indices) if isinstance(self.source, ReadsTogether) else None


def with_label_noise(dataset: MultimodalDataset, indices: np.ndarray, share: float, seed: int) -> MultimodalDataset:
    """The data set with a new target for a ``share`` of the samples ``indices``.

    A new class is drawn from all classes, so it may equal the old one. In a regression the chosen samples exchange
    their values, so that the distribution of the values stays the same.

    Args:
        dataset: the data set; it is not changed.
        indices: samples that have a target, usually the labelled training samples.
        share: share of ``indices`` that get a new target, in [0, 1]. With 0 the data set itself is returned.
        seed: decides which samples, and which targets.

    Example:
        >>> from types import SimpleNamespace
        >>> from pkdot.tasks import Task
        >>> schema = SimpleNamespace(task=Task("classification", ("pain",), ("no", "some", "much")))
        >>> clean = SimpleNamespace(schema=schema, records=[Record(str(i), "anna", (0.0,)) for i in range(6)])
        >>> noisy = with_label_noise(clean, np.arange(6), share=0.5, seed=1)
        >>> [record.target[0] for record in noisy.records]
        [1.0, 0.0, 2.0, 0.0, 0.0, 0.0]
    """
    hit_count = round(share * len(indices))
    if not hit_count:
        return dataset
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    hit = generator.permutation(indices)[:hit_count]
    records = list(dataset.records)
    if dataset.schema.task.kind == "regression":
        drawn = [records[int(index)].target for index in generator.permutation(hit)]
    else:
        drawn = [(float(value),) for value in generator.integers(len(dataset.schema.task.classes), size=hit_count)]
    for index, target in zip(hit, drawn, strict=True):
        records[int(index)] = replace(records[int(index)], target=target)
    return Relabelled(dataset, records)
