"""Decoded samples that stay in memory."""

from dataclasses import dataclass, field

from torch import Tensor

Sample = dict[str, Tensor]
"""The modalities of one sample; a missing one has no entry."""


@dataclass
class SampleMemory:
    """Decoded samples in memory, up to ``limit_mb`` (1 MB = 2^20 bytes); what comes after that is not kept.

    One memory belongs to one data set, and may serve several loaders of it.
    """

    limit_mb: float
    used_bytes: int = 0
    _samples: dict[int, Sample] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self._samples)

    def get(self, index: int) -> Sample | None:
        """The sample, if it is kept."""
        return self._samples.get(index)

    def add(self, index: int, sample: Sample) -> bool:
        """Keep a sample. False when there is no room for it."""
        size = sum(tensor.nbytes for tensor in sample.values())
        if index in self._samples:
            return True
        if self.used_bytes + size > self.limit_mb * 2**20:
            return False
        self._samples[index] = sample
        self.used_bytes += size
        return True

    def __getstate__(self) -> dict[str, object]:
        # A worker that is spawned gets an empty memory of its own, not a copy of gigabytes.
        return {"limit_mb": self.limit_mb, "used_bytes": 0, "_samples": {}}
