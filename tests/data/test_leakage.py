import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pkdot.config import DataConfig
from pkdot.data.batch import Modality, Record, Schema
from pkdot.data.loader import Loader
from pkdot.data.splits import SPLITS, Splits, labelled_mask, split_dataset
from pkdot.tasks import Task

TARGETS = st.one_of(st.none(), st.tuples(st.integers(0, 4).map(float)), st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
SAMPLES = st.lists(st.tuples(st.integers(0, 15), TARGETS), min_size=1, max_size=60)
CONFIGS = st.builds(DataConfig, val=st.floats(0.05, 0.45), test=st.floats(0.05, 0.45), split_seed=st.integers(0, 2**31))


def records_of(samples: list[tuple[int, tuple[float, ...] | None]], own: dict[int, str] | None = None) -> list[Record]:
    return [
        Record(f"r{i}", f"p{subject}", target, own[subject] if own else None)
        for i, (subject, target) in enumerate(samples)
    ]


def drawn(records: list[Record], config: DataConfig) -> Splits | None:
    """The splits; None if there are too few subjects."""
    try:
        return split_dataset(records, config)
    except ValueError as error:
        if "with a label" in str(error) or "no sample in train" in str(error):
            return None
        raise


@settings(max_examples=150, deadline=None)
@given(SAMPLES, CONFIGS, st.none() | st.lists(st.sampled_from(SPLITS), min_size=16, max_size=16))
def test_nobody_is_in_two_splits_and_nobody_is_lost(
    samples: list[tuple[int, tuple[float, ...] | None]], config: DataConfig, own: list[str] | None
) -> None:
    records = records_of(samples, dict(enumerate(own)) if own else None)
    splits = drawn(records, config)
    if splits is None:
        return
    homes = [{records[i].subject for i in part} for part in (splits.train, splits.val, splits.test)]
    assert all(homes)
    assert sum(map(len, homes)) == len(set().union(*homes))
    assert sorted(np.concatenate([splits.train, splits.val, splits.test])) == list(range(len(records)))


@settings(max_examples=100, deadline=None)
@given(SAMPLES, CONFIGS, st.floats(0.01, 1.0))
def test_a_subjects_labels_are_kept_or_dropped_together(
    samples: list[tuple[int, tuple[float, ...] | None]], config: DataConfig, share: float
) -> None:
    records = records_of(samples)
    splits = drawn(records, config)
    if splits is None:
        return
    mask = labelled_mask(records, splits, share, config.split_seed)
    known = np.array([record.target is not None for record in records])
    by_subject: dict[str, set[bool]] = {}
    for index in splits.train[known[splits.train]]:
        by_subject.setdefault(records[index].subject, set()).add(bool(mask[index]))
    assert all(len(kept) == 1 for kept in by_subject.values())
    assert any(kept == {True} for kept in by_subject.values())
    outside = np.concatenate([splits.val, splits.test])
    assert (mask[outside] == known[outside]).all()


class Watched:
    """Records which samples are read."""

    schema = Schema("watched", Task("regression", ("y",)), {"x": Modality("vector", (1,))}, ("x",), ())

    def __init__(self, samples: int) -> None:
        self.records = [Record(f"r{i}", f"p{i}", (float(i),)) for i in range(samples)]
        self.read_indices: list[int] = []

    def read(self, index: int) -> dict[str, torch.Tensor]:
        self.read_indices.append(index)
        return {"x": torch.tensor([float(index)])}


def test_splitting_and_labelling_open_no_sample() -> None:
    dataset = Watched(40)
    splits = split_dataset(dataset.records, DataConfig())
    labelled_mask(dataset.records, splits, 0.5, 0)
    assert dataset.read_indices == []


def test_a_loader_reads_its_own_samples_only() -> None:
    dataset = Watched(40)
    splits = split_dataset(dataset.records, DataConfig())
    labelled = labelled_mask(dataset.records, splits, 1.0, 0)
    list(Loader(dataset, splits.train, labelled, batch_size=8, shuffle=True).epoch(0))
    assert sorted(dataset.read_indices) == splits.train.tolist()


def test_a_label_that_is_kept_back_is_not_in_the_batch() -> None:
    dataset = Watched(40)
    splits = split_dataset(dataset.records, DataConfig())
    labelled = labelled_mask(dataset.records, splits, 0.5, 0)
    for batch in Loader(dataset, splits.train, labelled, batch_size=8).epoch(0):
        assert not batch.target[~batch.labelled].any()
