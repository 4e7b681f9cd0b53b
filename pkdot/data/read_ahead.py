"""Decoded samples that a process inherits from the one that it is forked from: read once for all runs of a comparison.

They take their memory once, too: as long as nobody writes to them, forked processes share the pages.
"""

import numpy as np

from pkdot.config import DataConfig
from pkdot.data import open_dataset
from pkdot.data.loader import Loader
from pkdot.data.memory import SampleMemory

_inherited: dict[tuple[object, ...], SampleMemory] = {}


def read_ahead(config: DataConfig) -> bool:
    """Read a whole data set for the processes that will be forked from this one. False where it is not kept.

    It is not where it would not fit: together they take no more than ``config.cache_mb``. Nor is it where it cannot be
    read, which the runs on it will tell, or need not be, because it lies in arrays.
    """
    if _what_is_read(config) in _inherited:
        return True
    used_mb = sum(memory.used_bytes for memory in _inherited.values()) / 2**20
    memory = SampleMemory(max(config.cache_mb - used_mb, 0.0))
    try:
        dataset = open_dataset(config)
        everybody = np.arange(len(dataset.records))
        Loader(dataset, everybody, np.zeros(len(everybody), dtype=bool), batch_size=1, memory=memory).preload()
    except ValueError:
        return False
    if len(memory) < len(everybody):
        return False
    _inherited[_what_is_read(config)] = memory
    return True


def memory_for(config: DataConfig) -> SampleMemory:
    """The samples that were read ahead, or an empty memory."""
    return _inherited.get(_what_is_read(config)) or SampleMemory(config.cache_mb)


def _what_is_read(config: DataConfig) -> tuple[object, ...]:
    """The settings that decide what sample number i is. Those of splits and labels have no part in it."""
    return config.source, config.levels, config.part, config.frames, config.image_size, config.cache_dir
