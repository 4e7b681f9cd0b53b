"""Read a data set once for all runs of a comparison.

A server process reads the samples into a memory; the processes forked from it inherit that memory. The samples take
RAM only once: forked processes share the pages, as long as nobody writes to them.
"""

import numpy as np

from pkdot.config import DataConfig
from pkdot.data import open_dataset
from pkdot.data.loader import Loader
from pkdot.data.memory import SampleMemory

_inherited: dict[tuple[object, ...], SampleMemory] = {}


def read_ahead(config: DataConfig) -> bool:
    """Read a whole data set into a memory for the processes that will be forked from this one.

    Returns False if the data set is not kept. This has one of three reasons:

    - all data sets read ahead would together take more than ``config.cache_mb``;
    - the data set cannot be read (the runs on it report the error);
    - it lies in arrays, which the system keeps in RAM anyway.

    >>> read_ahead(DataConfig(source="./nowhere"))
    False
    """
    if _what_is_read(config) in _inherited:
        return True
    used_mb = sum(memory.used_bytes for memory in _inherited.values()) / 2**20
    memory = SampleMemory(max(config.cache_mb - used_mb, 0.0))
    try:
        dataset = open_dataset(config)
        indices = np.arange(len(dataset.records))
        Loader(dataset, indices, np.zeros(len(indices), dtype=bool), batch_size=1, memory=memory).preload()
    except ValueError:
        return False
    if len(memory) < len(indices):
        return False
    _inherited[_what_is_read(config)] = memory
    return True


def memory_for(config: DataConfig) -> SampleMemory:
    """The memory that was filled by :func:`read_ahead` for these settings, or an empty one.

    >>> len(memory_for(DataConfig()))
    0
    """
    return _inherited.get(_what_is_read(config)) or SampleMemory(config.cache_mb)


def _what_is_read(config: DataConfig) -> tuple[object, ...]:
    """The settings that decide what a sample contains, without those of splits and labels."""
    biovid = config.biovid
    return config.source, biovid.levels, biovid.part, config.frames, config.image_size, config.cache_dir
