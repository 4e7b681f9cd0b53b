"""Split records into training, validation and test, and choose the training labels that may be used.

Everything here depends on the records and a seed only, so a teacher and its students get the same splits.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pkdot.config import DataConfig
from pkdot.data.batch import Record

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Splits:
    """Indices into a data set's records, int64 and ascending; no index is in two splits.

    >>> Splits(train=np.array([0, 2]), val=np.array([1]), test=np.array([3])).train
    array([0, 2])
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def split_dataset(records: Sequence[Record], config: DataConfig) -> Splits:
    """Split the records by subject, so that nobody is in two splits.

    There are four ways:

    - Cross-validation (``config.folds``): the subjects are divided into that many folds. Fold ``config.fold`` is the
      test split, and the validation split is drawn from the other folds. With ``"loso"`` each subject is a fold, in
      the order of the names. A split of the data set's own is ignored.
    - The data set's own split is used as it is. If it has no "val" or no "test", these are drawn from its training
      subjects.
    - Otherwise the subjects are drawn with ``config.split_seed``. ``config.val`` and ``config.test`` are shares of the
      subjects, at least one subject each.
    - ``protocol="released"`` draws clips instead of subjects, as the published code does. The same people are then in
      all splits; a warning says so.

    Every split has every class if there are enough subjects. A subject without any label can only be in training.
    The order of the records makes no difference.

    Args:
        records: of the whole data set.
        config: folds, fold, protocol, val, test and split_seed are used.

    Raises:
        ValueError: there are too few subjects, or the data set's own split cannot be used: a subject is in two splits,
            a record has no split or an unknown one, or the protocol is "released".

    Example:
        >>> records = [Record(f"r{i}", f"p{i // 2}", (float(i % 2),)) for i in range(10)]
        >>> split_dataset(records, DataConfig(val=0.2, test=0.2))
        Splits(train=array([0, 1, 4, 5, 6, 7]), val=array([8, 9]), test=array([2, 3]))
    """
    if config.folds:
        test = fold_members(records, config.folds, config.split_seed)
        if config.fold >= len(test):
            raise ValueError(f"fold {config.fold} of {len(test)} folds: expected 0 to {len(test) - 1}.")
        held_out = set(test[config.fold])
        others = [index for index in range(len(records)) if index not in held_out]
        parts = {"test": test[config.fold], **_draw(records, others, {"val": config.val}, config.split_seed)}
    elif any(record.split is not None for record in records):
        if config.protocol == "released":
            raise ValueError('protocol "released" draws clips at random, but this data set has a split of its own.')
        parts = _own_split(records)
        missing = {name: getattr(config, name) for name in ("test", "val") if not parts[name]}
        parts |= _draw(records, parts["train"], missing, config.split_seed)
    else:
        clips = config.protocol == "released"
        if clips:
            warnings.warn(
                'protocol "released" splits clip by clip: the same subjects are in training and test, '
                "so its figures say nothing about new people.",
                UserWarning,
                stacklevel=2,
            )
        shares = {"test": config.test, "val": config.val}
        parts = _draw(records, range(len(records)), shares, config.split_seed, clips=clips)
    return Splits(*(np.array(sorted(parts[name]), dtype=np.int64) for name in SPLITS))


def fold_members(records: Sequence[Record], folds: int | Literal["loso"], seed: int) -> list[list[int]]:
    """Divide the subjects into folds: the indices of the records in each fold, subject by subject.

    A subject without any label is in no fold.

    Args:
        records: of the whole data set.
        folds: number of folds, or "loso" (leave one subject out) for a fold for each subject.
        seed: decides which subject is in which fold.

    Raises:
        ValueError: there are fewer subjects with a label than folds, or fewer than three.

    Example:
        >>> records = [Record(f"r{i}", f"p{i // 2}", (0.0,)) for i in range(6)]
        >>> fold_members(records, "loso", seed=0), fold_members(records, 2, seed=0)
        ([[0, 1], [2, 3], [4, 5]], [[0, 1, 2, 3], [4, 5]])
    """
    groups = _groups(records, range(len(records)))
    known = [name for name, members in groups.items() if any(records[i].target is not None for i in members)]
    count = len(known) if folds == "loso" else folds
    least = max(count, 3)
    if len(known) < least:
        raise ValueError(f"{count} folds need at least {least} subjects with a label, got {len(known)}.")
    if folds == "loso":
        return [groups[name] for name in known]
    places = {str(fold): len(known) // count + (fold < len(known) % count) for fold in range(count)}
    dealt = _deal(_classes_of(records, {name: groups[name] for name in known}), places, _generator(seed, purpose=2))
    return [sorted(index for name in dealt[str(fold)] for index in groups[name]) for fold in range(count)]


def labelled_mask(
    records: Sequence[Record], splits: Splits, share: float, seed: int, *, by: Literal["subject", "sample"] = "subject"
) -> np.ndarray:
    """Choose the records whose label may be used: ``(n,)`` bool.

    Outside the training split, every record with a target is chosen. In the training split, a ``share`` of the
    labelled subjects keep their labels: at least one subject, and one of every class if the number allows. The other
    records stay in training as unlabelled samples.

    Args:
        records: of the whole data set.
        splits: of these records.
        share: share of the labelled training subjects (or samples) that keep their label, in (0, 1].
        seed: decides which subjects or samples keep their labels.
        by: "subject" keeps or drops all labels of a subject together; "sample" draws single samples.

    Example:
        >>> records = [Record(f"r{i}", f"p{i // 2}", (float(i % 2),)) for i in range(6)]
        >>> splits = Splits(np.arange(4), np.array([4]), np.array([5]))
        >>> labelled_mask(records, splits, share=0.5, seed=0)
        array([ True,  True, False, False,  True,  True])
    """
    mask = np.array([record.target is not None for record in records], dtype=bool)
    subjects = _groups(records, splits.train[mask[splits.train]].tolist(), clips=by == "sample")
    keep = max(1, round(share * len(subjects)))
    if keep >= len(subjects):
        return mask
    classes = _classes_of(records, subjects)
    dealt = _deal(classes, {"kept": keep, "dropped": len(subjects) - keep}, _generator(seed, purpose=1))
    for subject in dealt["dropped"]:
        mask[subjects[subject]] = False
    return mask


def _own_split(records: Sequence[Record]) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = {name: [] for name in SPLITS}
    home: dict[str, str] = {}
    for index, record in enumerate(records):
        if record.split not in SPLITS:
            found = "none" if record.split is None else repr(record.split)
            raise ValueError(f"sample {record.id!r}: got split {found}, expected train, val or test for every sample.")
        if home.setdefault(record.subject, record.split) != record.split:
            raise ValueError(
                f"subject {record.subject!r} is in two splits, {home[record.subject]} and {record.split} "
                f"(sample {record.id!r}); expected one."
            )
        parts[record.split].append(index)
    if not parts["train"]:
        raise ValueError("the data set's own split has no sample in train; expected at least one.")
    return parts


def _draw(
    records: Sequence[Record], indices: Iterable[int], shares: Mapping[str, float], seed: int, *, clips: bool = False
) -> dict[str, list[int]]:
    """Divide the subjects (or clips) of ``indices`` among train and the splits in ``shares``."""
    groups = _groups(records, indices, clips=clips)
    known = [name for name, members in groups.items() if any(records[i].target is not None for i in members)]
    if len(known) <= len(shares):
        what = "samples" if clips else "subjects"
        names = ", ".join(["train", *shares])
        raise ValueError(f"splits {names} need at least {len(shares) + 1} {what} with a label, got {len(known)}.")
    places, left = {}, len(known) - 1
    for position, (name, share) in enumerate(shares.items()):
        others = len(shares) - position - 1
        places[name] = min(max(1, round(share * len(known))), left - others)
        left -= places[name]
    classes = _classes_of(records, {name: groups[name] for name in known})
    dealt = _deal(classes, {"train": left + 1, **places}, _generator(seed, purpose=0))
    dealt["train"] += [name for name in groups if name not in classes]
    return {part: [index for name in names for index in groups[name]] for part, names in dealt.items()}


def _groups(records: Sequence[Record], indices: Iterable[int], *, clips: bool = False) -> dict[str, list[int]]:
    """The indices of each subject (or clip), ordered by name."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        record = records[index]
        groups[record.id if clips else record.subject].append(index)
    return {name: groups[name] for name in sorted(groups)}


def _classes_of(records: Sequence[Record], groups: Mapping[str, list[int]]) -> dict[str, set[float]]:
    """The classes in each group; empty sets if the targets have too many different values to be classes."""
    found = {
        name: {target[0] for index in members if (target := records[index].target) is not None and len(target) == 1}
        for name, members in groups.items()
    }
    values = set().union(*found.values())
    few = len(values) <= max(10, sum(map(len, groups.values())) // 10)
    return found if few else {name: set() for name in found}


def _deal(
    classes: Mapping[str, set[float]], places: Mapping[str, int], generator: np.random.Generator
) -> dict[str, list[str]]:
    """Assign every group to a part, so that each part gets its share of every class, and at least one if possible.

    Iterative stratification over groups (Sechidis, Tsoumakas, Vlahavas 2011). It starts with the rarest class. Each of
    its groups goes to the part that still lacks most groups of that class; among equal parts, to the first.

    Args:
        classes: the classes in each group.
        places: the number of groups for each part.
        generator: shuffles the groups first.
    """
    names = list(classes)
    waiting = dict.fromkeys(names[i] for i in generator.permutation(len(names)))
    room = dict(places)
    holders = {value: sum(value in found for found in classes.values()) for value in set().union(*classes.values())}
    wanted = {
        part: {value: max(1.0, number * count / len(classes)) for value, count in holders.items()}
        for part, number in places.items()
    }
    dealt: dict[str, list[str]] = {part: [] for part in places}

    def place(group: str, part: str) -> None:
        dealt[part].append(group)
        room[part] -= 1
        for value in classes[group]:
            wanted[part][value] -= 1

    for value in sorted(holders, key=lambda value: (holders[value], value)):
        for group in [name for name in waiting if value in classes[name]]:
            open_parts = [part for part in places if room[part]]
            place(group, max(open_parts, key=lambda part: wanted[part][value]))
            del waiting[group]
    for group in waiting:
        place(group, next(part for part in places if room[part]))
    return dealt


def _generator(seed: int, *, purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose,)))
