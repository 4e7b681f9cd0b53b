"""Who trains, who selects the model, who is tested on, and whose labels are known.

Everything here follows from the records and a seed: a teacher and its students get the same answer.
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
    """Indices into a data set's records, int64, ascending; no index is in two of them."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def split_dataset(records: Sequence[Record], config: DataConfig) -> Splits:
    """Divide records so that nobody is in two splits.

    A data set's own split is used as it is, unless there are folds; of "val" and "test" it may lack what is then
    taken from its training subjects. Otherwise subjects are drawn with ``config.split_seed``: ``config.val`` and
    ``config.test`` are shares of the subjects, at least one each, and every class is in every split where there are
    subjects enough. Somebody of whom nothing is labelled can only train. Which subject goes where does not depend on
    the order of the records.

    With ``config.folds`` all subjects are dealt out to so many folds, of which ``config.fold`` is the test split, and
    the validation split is drawn from the others: cross-validation, which knows no official test split. With
    ``"loso"`` the folds are the subjects in the order of their names.

    ``protocol="released"`` draws clips instead, so that the same faces are in all splits, and warns of it.

    Raises:
        ValueError: too few subjects, a subject in two splits of the data set's own, a split named for some records
            only or with an unknown word, or "released" for a data set with a split of its own.
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
            raise ValueError('protocol "released" draws clips at random, but this data set brings its own split.')
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
    """Indices of the records in each fold, subject by subject; somebody of whom nothing is labelled is in none.

    Raises:
        ValueError: fewer subjects with a label than folds, or fewer than three.
    """
    groups = _groups(records, range(len(records)))
    known = [name for name, members in groups.items() if any(records[i].target is not None for i in members)]
    count = len(known) if folds == "loso" else folds
    if count > len(known) or len(known) < 3:
        raise ValueError(
            f"{count} folds and a validation split need as many subjects with a label, at least 3; got {len(known)}."
        )
    if folds == "loso":
        return [groups[name] for name in known]
    places = {str(fold): len(known) // count + (fold < len(known) % count) for fold in range(count)}
    dealt = _deal(_classes_of(records, {name: groups[name] for name in known}), places, _generator(seed, purpose=2))
    return [sorted(index for name in dealt[str(fold)] for index in groups[name]) for fold in range(count)]


def labelled_mask(
    records: Sequence[Record], splits: Splits, share: float, seed: int, *, by: Literal["subject", "sample"] = "subject"
) -> np.ndarray:
    """Which records have a label that may be used: ``(n,)`` bool.

    Outside the training split that is every record with a target. Inside it, ``share`` of the subjects who have
    labels keep them (at least one subject, and of every class somebody, where the number allows), or of the samples.
    The others stay as unlabelled pairs.
    """
    mask = np.array([record.target is not None for record in records])
    subjects = _groups(records, (int(index) for index in splits.train if mask[index]), clips=by == "sample")
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
            raise ValueError(f"sample {record.id!r}: expected split train, val or test for every sample, got {found}.")
        if home.setdefault(record.subject, record.split) != record.split:
            raise ValueError(
                f"subject {record.subject!r} is in two splits of the data set's own: "
                f"{home[record.subject]} and {record.split} (sample {record.id!r})."
            )
        parts[record.split].append(index)
    if not parts["train"]:
        raise ValueError("the data set's own split has no sample in train.")
    return parts


def _draw(
    records: Sequence[Record], indices: Iterable[int], shares: Mapping[str, float], seed: int, *, clips: bool = False
) -> dict[str, list[int]]:
    """Deal the subjects (or clips) among ``indices`` out to train and to the splits in ``shares``."""
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
    """Indices by subject (or by clip), ordered by name."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        groups[records[index].id if clips else records[index].subject].append(index)
    return dict(sorted(groups.items()))


def _classes_of(records: Sequence[Record], groups: Mapping[str, list[int]]) -> dict[str, set[float]]:
    """The classes that each group has; none where the targets take too many values to be classes."""
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
    """Give every group a place, so that each part gets its share of every class, and one of it where possible.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011) over groups: the rarest class is dealt first, each
    of its groups to the part that still wants most of that class; among equals, the part named first.
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
