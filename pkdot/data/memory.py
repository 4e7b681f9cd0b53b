"""The memory: decoded samples that are kept in RAM, so that later epochs do not read the disk again."""

from dataclasses import dataclass, field

from torch import Tensor

Sample = dict[str, Tensor]
"""The modalities of one sample by name; a missing one has no entry."""


@dataclass
class SampleMemory:
    """Keeps decoded samples in RAM, up to ``limit_mb`` (1 MB = 2^20 bytes). A sample that does not fit is not kept.

    One memory belongs to one data set; several loaders of that data set may share it.

    >>> import torch
    >>> memory = SampleMemory(limit_mb=1)
    >>> memory.add(0, {"x": torch.zeros(1000)}), memory.add(1, {"x": torch.zeros(10**6)})
    (True, False)
    >>> len(memory), memory.used_bytes, memory.get(1)
    (1, 4000, None)
    """

    limit_mb: float
    used_bytes: int = 0
    _samples: dict[int, Sample] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self._samples)

    def get(self, index: int) -> Sample | None:
        """The sample with this index; None if it is not kept."""
        return self._samples.get(index)

    def add(self, index: int, sample: Sample) -> bool:
        """Keep a sample. Returns False if there is no room for it."""
        size = sum(tensor.nbytes for tensor in sample.values())
        if index in self._samples:
            return True
        if self.used_bytes + size > self.limit_mb * 2**20:
            return False
        self._samples[index] = sample
        self.used_bytes += size
        return True

    def __getstate__(self) -> dict[str, object]:
        # A spawned worker process starts with an empty memory: pickling the samples would copy gigabytes.
        return {"limit_mb": self.limit_mb, "used_bytes": 0, "_samples": {}}
