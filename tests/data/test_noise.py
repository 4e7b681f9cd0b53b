from pathlib import Path

import numpy as np
import pytest

from pkdot.config import DataConfig, OptimConfig
from pkdot.data import open_dataset
from pkdot.data.batch import ReadsTogether
from pkdot.data.noise import with_label_noise
from pkdot.data.study import Study, open_study
from tests.support import write_vectors


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(write_vectors(tmp_path / "toy", names=("low", "middle", "high")))


def test_a_share_of_the_labels_is_drawn_anew_and_no_other(source: str) -> None:
    dataset = open_dataset(DataConfig(source=source))
    indices = np.arange(10, 60)
    noisy = with_label_noise(dataset, indices, 0.6, seed=0)
    changed = [i for i, (a, b) in enumerate(zip(dataset.records, noisy.records, strict=True)) if a != b]
    assert set(changed) <= set(indices.tolist())
    assert 10 <= len(changed) <= 30  # 30 are drawn; a third of them keep their class by chance
    assert {record.target for record in noisy.records} == {(0.0,), (1.0,), (2.0,)}
    assert noisy.schema == dataset.schema
    assert noisy.read(11).keys() == dataset.read(11).keys()
    assert isinstance(noisy, ReadsTogether)
    assert (noisy.read_together([11]) or {}).keys() == dataset.read(11).keys()
    assert [r.target for r in with_label_noise(dataset, indices, 0.6, seed=0).records] == [
        r.target for r in noisy.records
    ]
    assert with_label_noise(dataset, indices, 0.0, seed=0) is dataset


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_which_labels_are_wrong_follows_from_the_seed(tmp_path: Path, task: str) -> None:
    dataset = open_dataset(DataConfig(source=str(write_vectors(tmp_path / "toy", task=task))))
    targets = [
        [record.target for record in with_label_noise(dataset, np.arange(40), 0.5, seed).records] for seed in (0, 0, 1)
    ]
    assert targets[0] == targets[1] != targets[2]


def test_the_values_of_a_regression_change_places(tmp_path: Path) -> None:
    dataset = open_dataset(DataConfig(source=str(write_vectors(tmp_path / "value", task="regression"))))
    noisy = with_label_noise(dataset, np.arange(40), 0.5, seed=0)
    before, after = ([record.target for record in data.records] for data in (dataset, noisy))
    assert before != after
    assert sorted(map(str, before)) == sorted(map(str, after))


def test_noise_hits_labelled_training_samples_only_and_is_part_of_the_label_digest(source: str) -> None:
    clean = open_study(DataConfig(source=source, labels=0.5), OptimConfig(), 0)
    noisy = open_study(DataConfig(source=source, labels=0.5, label_noise=0.9), OptimConfig(), 0)
    known = set(clean.splits.train[clean.labelled[clean.splits.train]].tolist())
    pairs = zip(clean.dataset.records, noisy.dataset.records, strict=True)
    assert {i for i, (a, b) in enumerate(pairs) if a != b} <= known
    assert clean.label_digest != noisy.label_digest
    assert clean.split_digest == noisy.split_digest


def test_labels_and_noise_are_drawn_anew_on_the_same_split(source: str) -> None:
    def study(label_seed: int | None) -> Study:
        return open_study(
            DataConfig(source=source, labels=0.5, label_noise=0.5, split_seed=3, label_seed=label_seed),
            OptimConfig(),
            0,
        )

    default, same, other = (study(seed) for seed in (None, 3, 4))
    assert default.label_digest == same.label_digest != other.label_digest
    assert default.split_digest == other.split_digest
    assert (default.labelled != other.labelled).any()
