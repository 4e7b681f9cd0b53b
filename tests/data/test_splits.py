import numpy as np
import pytest

from pkdot.config import DataConfig
from pkdot.data.batch import Record
from pkdot.data.splits import Splits, labelled_mask, split_dataset


def people(subjects: int, per_subject: int, classes: int = 2) -> list[Record]:
    """Everybody has every class."""
    return [Record(f"p{s}-{i}", f"p{s}", (float(i % classes),)) for s in range(subjects) for i in range(per_subject)]


def one_each(classes: list[int]) -> list[Record]:
    """Each record is its own subject."""
    return [Record(f"r{i}", f"r{i}", (float(c),)) for i, c in enumerate(classes)]


def subjects_of(records: list[Record], indices: np.ndarray) -> set[str]:
    return {records[index].subject for index in indices}


def classes_of(records: list[Record], indices: np.ndarray) -> set[float]:
    return {target[0] for index in indices if (target := records[index].target) is not None}


def parts(splits: Splits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return splits.train, splits.val, splits.test


def test_sizes_follow_the_shares_of_subjects() -> None:
    records = people(20, 5)
    splits = split_dataset(records, DataConfig(val=0.2, test=0.3))
    assert [len(subjects_of(records, part)) for part in parts(splits)] == [10, 4, 6]
    assert sorted(np.concatenate(parts(splits))) == list(range(100))
    assert all(part.dtype == np.int64 for part in parts(splits))


def test_no_split_is_empty_however_small_the_shares() -> None:
    splits = split_dataset(people(3, 1), DataConfig(val=0.01, test=0.98))
    assert [len(part) for part in parts(splits)] == [1, 1, 1]


def test_the_seed_decides_and_the_order_of_the_records_does_not() -> None:
    records = people(12, 3)
    splits = split_dataset(records, DataConfig(split_seed=4))
    again = split_dataset(records[::-1], DataConfig(split_seed=4))
    other = split_dataset(records, DataConfig(split_seed=5))
    assert subjects_of(records, splits.test) == subjects_of(records[::-1], again.test)
    assert subjects_of(records, splits.test) != subjects_of(records, other.test)


@pytest.mark.parametrize("seed", range(5))
def test_every_split_has_every_class_where_there_are_enough_subjects(seed: int) -> None:
    records = one_each([0] * 60 + [1] * 20 + [2] * 3)
    splits = split_dataset(records, DataConfig(split_seed=seed))
    assert all(classes_of(records, part) == {0.0, 1.0, 2.0} for part in parts(splits))
    test = [records[index].target[0] for index in splits.test]  # type: ignore[index]
    assert [test.count(c) for c in (0, 1)] == pytest.approx([18, 6], abs=2)


def test_continuous_targets_are_split_at_random() -> None:
    values = np.random.default_rng(0).normal(size=300)
    records = [Record(f"r{i}", f"r{i}", (float(v),)) for i, v in enumerate(values)]
    splits = split_dataset(records, DataConfig(val=0.2, test=0.3))
    assert [len(part) for part in parts(splits)] == [150, 60, 90]
    assert abs(values[splits.test].mean() - values.mean()) < 0.3


def test_somebody_without_labels_can_only_train() -> None:
    records = [*people(6, 2), Record("x0", "x", None), Record("x1", "x", None)]
    for seed in range(10):
        assert {12, 13} <= set(split_dataset(records, DataConfig(split_seed=seed)).train.tolist())


def test_two_subjects_are_too_few() -> None:
    with pytest.raises(ValueError, match="at least 3 subjects with a label, got 2"):
        split_dataset(people(2, 50), DataConfig())
    with pytest.raises(ValueError, match="got 0"):
        split_dataset([], DataConfig())


def test_the_data_sets_own_split_is_used_as_it_is() -> None:
    names = ["test", "train", "val", "train"]
    records = [Record(f"r{i}", f"p{i}", (0.0,), name) for i, name in enumerate(names)]
    splits = split_dataset(records, DataConfig())
    assert [part.tolist() for part in parts(splits)] == [[1, 3], [2], [0]]


@pytest.mark.parametrize("missing", ["val", "test"])
def test_a_missing_split_is_taken_from_training_subjects(missing: str) -> None:
    given = "test" if missing == "val" else "val"
    records = [Record(r.id, r.subject, r.target, "train" if r.subject < "p7" else given) for r in people(10, 4)]
    splits = split_dataset(records, DataConfig(val=0.3, test=0.3))
    assert subjects_of(records, getattr(splits, given)) == {"p7", "p8", "p9"}
    assert len(subjects_of(records, getattr(splits, missing))) == 2
    assert len(subjects_of(records, splits.train)) == 5


def test_an_own_split_with_a_subject_in_two_places_is_refused() -> None:
    records = [Record("a", "anna", (0.0,), "train"), Record("b", "anna", (0.0,), "test")]
    with pytest.raises(ValueError, match="subject 'anna' is in two splits, train and test"):
        split_dataset(records, DataConfig())


@pytest.mark.parametrize("split", [None, "dev"])
def test_an_own_split_must_name_every_sample(split: str | None) -> None:
    records = [Record("a", "anna", (0.0,), "train"), Record("b", "bert", (0.0,), split)]
    found = "none" if split is None else "'dev'"
    with pytest.raises(
        ValueError, match=f"sample 'b': got split {found}, expected train, val or test for every sample"
    ):
        split_dataset(records, DataConfig())


def test_an_own_split_without_training_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="no sample in train"):
        split_dataset([Record("a", "anna", (0.0,), "test")], DataConfig())


def test_the_released_protocol_splits_clips_and_warns() -> None:
    records = people(4, 40)
    with pytest.warns(UserWarning, match="same subjects are in training and test"):
        splits = split_dataset(records, DataConfig(protocol="released"))
    assert [len(part) for part in parts(splits)] == [88, 24, 48]
    assert subjects_of(records, splits.train) == subjects_of(records, splits.test)


def test_the_released_protocol_is_refused_where_the_data_set_brings_a_split() -> None:
    with pytest.raises(ValueError, match="has a split of its own"):
        split_dataset([Record("a", "anna", (0.0,), "train")], DataConfig(protocol="released"))


def test_few_labels_keep_whole_subjects_of_the_training_split_only() -> None:
    records = people(20, 6)
    splits = split_dataset(records, DataConfig(val=0.2, test=0.3))
    mask = labelled_mask(records, splits, 0.3, 0)
    kept = {records[index].subject for index in splits.train if mask[index]}
    assert len(kept) == 3
    assert all(mask[index] == (records[index].subject in kept) for index in splits.train)
    assert mask[splits.val].all()
    assert mask[splits.test].all()


@pytest.mark.parametrize("seed", range(5))
def test_few_labels_hold_every_class_if_the_number_allows(seed: int) -> None:
    records = one_each([0] * 100 + [1] * 10 + [2] * 5)
    splits = split_dataset(records, DataConfig())
    mask = labelled_mask(records, splits, 0.05, seed)
    kept = splits.train[mask[splits.train]]
    assert len(kept) == round(0.05 * len(splits.train))
    assert classes_of(records, kept) == {0.0, 1.0, 2.0}


def test_at_least_one_subject_keeps_its_labels_and_all_do_at_share_one() -> None:
    records = people(10, 3)
    splits = split_dataset(records, DataConfig())
    assert labelled_mask(records, splits, 1e-6, 0)[splits.train].sum() == 3
    assert labelled_mask(records, splits, 1.0, 0).all()


def test_the_labelled_subjects_follow_from_the_seed() -> None:
    records = people(30, 2)
    splits = split_dataset(records, DataConfig())
    masks = [labelled_mask(records, splits, 0.2, seed) for seed in (0, 0, 1)]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] != masks[2]).any()


def test_a_record_without_a_target_is_never_labelled() -> None:
    records = [*people(6, 2), Record("x", "p0", None)]
    splits = split_dataset(records, DataConfig())
    assert not labelled_mask(records, splits, 1.0, 0)[-1]
    assert not labelled_mask([Record("x", "p0", None)], Splits(*[np.arange(1), np.arange(0), np.arange(0)]), 0.5, 0)[0]


def test_folds_test_on_everybody_once_and_on_nobody_twice() -> None:
    records = [Record(f"s{i}", f"p{i // 4:02d}", (float(i % 2),)) for i in range(44)]
    seen: list[int] = []
    for fold in range(5):
        splits = split_dataset(records, DataConfig(folds=5, fold=fold))
        subjects = [{records[i].subject for i in part} for part in (splits.train, splits.val, splits.test)]
        assert not subjects[0] & subjects[1]
        assert not subjects[2] & (subjects[0] | subjects[1])
        assert len(splits.train) + len(splits.val) + len(splits.test) == 44
        assert len(subjects[2]) in (2, 3)
        seen += splits.test.tolist()
    assert sorted(seen) == list(range(44))


def test_who_shares_a_fold_follows_from_the_seed() -> None:
    records = people(12, 2)

    def folds(seed: int) -> set[frozenset[str]]:
        parts = [split_dataset(records, DataConfig(folds=4, fold=fold, split_seed=seed)).test for fold in range(4)]
        return {frozenset(subjects_of(records, part)) for part in parts}

    assert folds(0) == folds(0)
    assert len({frozenset(folds(seed)) for seed in range(4)}) == 4


def test_leaving_one_subject_out_follows_the_order_of_their_names() -> None:
    records = [Record(f"s{i}", f"p{i // 4:02d}", (float(i % 2),)) for i in range(20)]
    for fold in range(5):
        splits = split_dataset(records, DataConfig(folds="loso", fold=fold))
        assert {records[i].subject for i in splits.test} == {f"p{fold:02d}"}


def test_folds_that_cannot_be_are_refused() -> None:
    records = [Record(f"s{i}", f"p{i // 4:02d}", (float(i % 2),)) for i in range(20)]
    with pytest.raises(ValueError, match=r"7 folds .* got 5"):
        split_dataset(records, DataConfig(folds=7))
    with pytest.raises(ValueError, match="fold 5 of 5 folds: expected 0 to 4"):
        split_dataset(records, DataConfig(folds="loso", fold=5))
    with pytest.raises(ValueError, match="folds 1"):
        DataConfig(folds=1)
    with pytest.raises(ValueError, match="folds divide"):
        DataConfig(folds=3, protocol="released")


def test_folds_are_dealt_out_over_the_data_sets_own_split() -> None:
    own = [Record(f"s{i}", f"p{i}", (0.0,), ("train", "val", "test")[i % 3]) for i in range(9)]
    seen = [index for fold in range(3) for index in split_dataset(own, DataConfig(folds=3, fold=fold)).test.tolist()]
    assert sorted(seen) == list(range(9))


def test_labels_can_be_kept_by_sample_and_then_fall_on_many_subjects() -> None:
    records = [Record(f"s{i:03d}", f"p{i // 20:02d}", (float(i % 2),)) for i in range(200)]
    splits = split_dataset(records, DataConfig())
    by_subject, by_sample = (labelled_mask(records, splits, 0.25, 0, by=by) for by in ("subject", "sample"))  # type: ignore[arg-type]
    kept = [splits.train[mask[splits.train]] for mask in (by_subject, by_sample)]
    assert len(kept[1]) == round(0.25 * len(splits.train))
    assert len({records[i].subject for i in kept[0]}) < len({records[i].subject for i in kept[1]})
    assert {records[i].target for i in kept[1]} == {(0.0,), (1.0,)}
