"""Data sets."""

from pathlib import Path
from typing import Protocol

from pkdot.checks import check_choice
from pkdot.config import DataConfig
from pkdot.data.affwild2 import AffWild2
from pkdot.data.batch import MultimodalDataset
from pkdot.data.biovid import BioVid
from pkdot.data.manifest import Manifest
from pkdot.data.synthetic_affwild2 import SyntheticAffWild2
from pkdot.data.synthetic_biovid import SyntheticBioVid


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
    """The data set that ``config.source`` names: ``NAME``, ``NAME:PATH`` or a folder that holds dataset.toml.

    Raises:
        ValueError: there is none, or its files are wrong, with file, line and field.
    """
    name, colon, path = config.source.partition(":")
    if name in DATASETS:
        return DATASETS[name].open(Path(path).expanduser() if colon else None, config)
    folder = Path(config.source).expanduser()
    if not folder.exists():
        check_choice("data set", name if colon else config.source, DATASETS)
    if not (folder / "dataset.toml").is_file():
        raise ValueError(f"{folder}: no dataset.toml here; for a data set in its owner's layout write NAME:{folder}.")
    return DATASETS["manifest"].open(folder, config)
