from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pkdot.config import DataConfig, OptimConfig
from pkdot.data.read_ahead import _inherited, memory_for, read_ahead
from pkdot.data.study import open_study
from tests.support import write_vectors

TOML = """
name = "files"
task = "classification"
targets = ["answer"]
classes = ["low", "high"]
prevalent = ["signal"]

[modalities.signal]
kind = "vector"
source = "files"
"""


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """Twelve samples of six people, each in a file: 3 MB in all."""
    lines = ["id,subject,answer,signal"]
    for i in range(12):
        np.save(tmp_path / f"{i}.npy", np.full(2**16, i, np.float32))
        lines.append(f"s{i},p{i // 2},{('low', 'high')[i % 2]},{i}.npy")
    (tmp_path / "samples.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "dataset.toml").write_text(TOML)
    return DataConfig(source=str(tmp_path))


@pytest.fixture(autouse=True)
def _nothing_inherited() -> Iterator[None]:
    _inherited.clear()
    yield
    _inherited.clear()


def test_what_was_read_ahead_is_not_read_again(config: DataConfig) -> None:
    assert read_ahead(config)
    for path in Path(config.source).glob("*.npy"):
        np.save(path, np.full(2**16, -1.0, np.float32))
    for fold in (0, 1):
        study = open_study(replace(config, folds=3, fold=fold, labels=0.5, label_seed=fold), OptimConfig(), seed=fold)
        (batch,) = study.test().epoch(0)
        assert batch.modalities["signal"][:, 0].tolist() == study.splits.test.tolist()


def test_other_samples_are_read_by_the_run_itself(config: DataConfig) -> None:
    assert read_ahead(config)
    assert len(memory_for(config)) == 12
    assert len(memory_for(replace(config, frames=3))) == 0
    assert len(memory_for(replace(config, source="elsewhere"))) == 0


def test_sets_that_do_not_fit_beside_each_other_are_left_to_the_runs(config: DataConfig) -> None:
    assert not read_ahead(replace(config, cache_mb=2))
    assert read_ahead(replace(config, cache_mb=5))
    assert not read_ahead(replace(config, cache_mb=5, frames=3))
    assert read_ahead(replace(config, cache_mb=6, frames=3))


def test_a_set_is_read_ahead_once(config: DataConfig) -> None:
    assert read_ahead(config)
    kept = memory_for(config)
    assert read_ahead(replace(config, folds=3, fold=1))
    assert memory_for(config) is kept


def test_what_cannot_be_read_is_left_for_the_runs_to_tell(config: DataConfig) -> None:
    (Path(config.source) / "7.npy").write_bytes(b"noise")
    assert not read_ahead(config)
    assert not read_ahead(replace(config, source="nowhere"))
    assert len(memory_for(config)) == 0


def test_arrays_need_not_be_read_ahead(tmp_path: Path) -> None:
    assert not read_ahead(DataConfig(source=str(write_vectors(tmp_path / "toy")), augment=False))
