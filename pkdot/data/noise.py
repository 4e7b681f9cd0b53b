"""Wrong labels on purpose: how a method fares where the annotators did not agree."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from pkdot.data.batch import MultimodalDataset, ReadsTogether, Record


class Relabelled:
    """A data set with other targets."""

    def __init__(self, source: MultimodalDataset, records: Sequence[Record]) -> None:
        self.source, self.records, self.schema = source, records, source.schema

    def read(self, index: int) -> dict[str, Tensor]:
        """Of the source."""
        return self.source.read(index)

    def read_together(self, indices: Sequence[int]) -> dict[str, Tensor] | None:
        """Of the source, where it can."""
        return self.source.read_together(indices) if isinstance(self.source, ReadsTogether) else None


def with_label_noise(dataset: MultimodalDataset, indices: np.ndarray, share: float, seed: int) -> MultimodalDataset:
    """The data set with new targets for a share of ``indices``, which have one.

    A class is drawn anew among all classes, the old one included; the values of a regression change places among the
    samples that are hit, so that their distribution stays.
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
