"""Data sets, from the disk to batches.

Reading: ``manifest`` (own data), ``biovid`` and ``affwild2`` read layouts; ``synthetic`` makes the two synthetic sets,
which the same readers read. They build on ``description``, ``samples``, ``tables``, ``files``, ``media`` and ``disk``,
each of which reads one thing.
Using: ``study`` splits (``splits``) and labels (``noise``) an open data set and gives its loaders; ``loader`` reads,
augments (``augment``) and stacks samples into a ``batch``.
Keeping: ``memory`` holds decoded samples in RAM, and ``read_ahead`` fills it once for many runs. ``cache`` is the
folder on the disk for synthetic data. ``content`` computes the digest of a data set's files.
"""

import difflib
import os
from pathlib import Path
from typing import Protocol

from pkdot.checks import check_choice
from pkdot.config import DataConfig
from pkdot.data.affwild2 import AffWild2
from pkdot.data.batch import MultimodalDataset
from pkdot.data.biovid import BioVid
from pkdot.data.disk import brief, folder_at, something_at
from pkdot.data.manifest import DESCRIPTION, Manifest
from pkdot.data.synthetic.affwild2 import SyntheticAffWild2
from pkdot.data.synthetic.biovid import SyntheticBioVid


class DatasetReader(Protocol):
    """A reader of a layout: the values of :data:`DATASETS`.

    >>> isinstance(DATASETS["manifest"], type)
    True
    """

    @classmethod
    def open(cls, path: Path | None, config: DataConfig) -> MultimodalDataset:
        """Open the data set at ``path``. Raises ``ValueError`` with file, line and field if something is wrong."""
        ...


DATASETS: dict[str, type[DatasetReader]] = {
    "synthetic-biovid": SyntheticBioVid,
    "synthetic-affwild2": SyntheticAffWild2,
    "biovid": BioVid,
    "affwild2": AffWild2,
    "manifest": Manifest,
}
"""The readers, by the name for ``--data``."""


def open_dataset(config: DataConfig) -> MultimodalDataset:
    """Open the data set that ``config.source`` names: ``NAME``, ``NAME:PATH``, a manifest folder or its dataset.toml.

    Raises:
        ValueError: there is no such data set, or something in its files is wrong, with file, line and field.

    Example:
        >>> open_dataset(DataConfig(source="./nowhere"))
        Traceback (most recent call last):
        ValueError: nowhere: no such folder.
    """
    name, colon, path = config.source.partition(":")
    if name in DATASETS:
        return DATASETS[name].open(_place(path) if colon else None, config)
    place = _place(config.source)
    if not something_at(place):
        word = name if colon else config.source
        if not _is_path(word) and difflib.get_close_matches(word, DATASETS, n=1):
            check_choice("data set", word, DATASETS)
        hint = "" if _is_path(config.source) else f"; built-in data sets are {', '.join(DATASETS)}"
        raise ValueError(f"{brief(place)}: no such folder{hint}.")
    if place.name == DESCRIPTION and not place.is_dir():
        place = place.parent
    if not something_at(folder_at(place) / DESCRIPTION):
        raise ValueError(f"{place}: no {DESCRIPTION} here; for a data set in its owner's layout write NAME:{place}.")
    return DATASETS["manifest"].open(place, config)


def _place(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # ~somebody
        raise ValueError(f"{path}: no such folder ({error}).") from error


def _is_path(word: str) -> bool:
    return len(word) > 100 or word.startswith((".", "~")) or bool(set(word) & {"/", os.sep, os.altsep})
