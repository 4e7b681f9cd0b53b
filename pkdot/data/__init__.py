"""Data sets."""

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
    """What stands in :data:`DATASETS`."""

    @classmethod
    def open(cls, path: Path | None, config: DataConfig) -> MultimodalDataset:
        """The data set at ``path``; ``ValueError`` with file, line and field if it is not what it should be."""
        ...


DATASETS: dict[str, type[DatasetReader]] = {
    "synthetic-biovid": SyntheticBioVid,
    "synthetic-affwild2": SyntheticAffWild2,
    "biovid": BioVid,
    "affwild2": AffWild2,
    "manifest": Manifest,
}
"""Readers by the name that stands in ``--data``."""


def open_dataset(config: DataConfig) -> MultimodalDataset:
    """The data set that ``config.source`` names: ``NAME``, ``NAME:PATH``, or a folder or its dataset.toml.

    Raises:
        ValueError: there is none, or its files are wrong, with file, line and field.
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
