"""What runs scored, the names of the entries that stand in every table, and runs paired by fold and seed."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Key = tuple[int, int]
"""Fold and seed: runs of a block that share them are paired."""

TEACHER, NONE, ALL_LABELS = "teacher", "none", "all labels"
SELF_TRAINING, PREVALENT_TEACHER = "self-training", "kd from prevalent teacher"
CONTROLS = (TEACHER, NONE, ALL_LABELS, SELF_TRAINING, PREVALENT_TEACHER)
"""What methods are measured against; every other entry is a method."""
OT = "ot"
"""The method that the others are also compared with."""
_TRUTHS = {"True": True, "False": False}


@dataclass(frozen=True)
class Score:
    """What one run scored on the test split.

    Attributes:
        data: data set.
        regime: what students were given there.
        entry: line of the tables: a method, or one of ``CONTROLS``.
        fold: subject fold, 0 without folds.
        seed: of the run.
        split: name of the samples that it was trained, validated and tested on, such as a digest.
        metric: "accuracy", "qwk", "ccc": larger is better.
        value: in the metric's units; tables print 100 x it as points. NaN: the run is missing.
        train_samples: in its training split.
        test_samples: in its test split.
        pooled: the fold is not scored on its own: ``value`` is what it contributes to the score of all folds.
    """

    data: str
    regime: str
    entry: str
    fold: int
    seed: int
    split: str
    metric: str
    value: float
    train_samples: int
    test_samples: int
    pooled: bool = False


def write_scores(scores: Iterable[Score], path: Path) -> None:
    """A line of CSV for each run, for other statistics than these."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Score)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(score) for score in scores)


def read_scores(path: Path) -> list[Score]:
    """What ``write_scores`` wrote; a file without the column ``pooled`` has no pooled score.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line lacks a column, or has something else than a number where one belongs.
    """
    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                found.append(
                    Score(
                        data=row["data"],
                        regime=row["regime"],
                        entry=row["entry"],
                        fold=int(row["fold"]),
                        seed=int(row["seed"]),
                        split=row["split"],
                        metric=row["metric"],
                        value=float(row["value"]),
                        train_samples=int(row["train_samples"]),
                        test_samples=int(row["test_samples"]),
                        pooled=_TRUTHS[row.get("pooled", "False")],
                    )
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {number} is not a run's score: {error!r}") from error
    return found


@dataclass(frozen=True)
class Paired:
    """Values of some entries over the ``n`` runs that all of them have.

    Attributes:
        values: ``(entries, n)``.
        splits: int64 ``(n,)``: runs with the same number were trained and tested on the same samples.
        ratio: test samples / training samples.
    """

    values: Array
    splits: Array
    ratio: float

    @property
    def differences(self) -> Array:
        """``(n,)``: the first entry minus the second."""
        difference: Array = self.values[0] - self.values[1]
        return difference


class Block:
    """The runs of one data set in one regime: a table of the report."""

    def __init__(self, scores: Sequence[Score]) -> None:
        first = scores[0]
        self.data, self.regime, self.metric, self.pooled = first.data, first.regime, first.metric, first.pooled
        self._splits: dict[Key, str] = {}
        self._runs: dict[str, dict[Key, Score]] = {}
        seen: set[tuple[str, Key]] = set()
        for score in scores:
            key = score.fold, score.seed
            _check(score, first)
            if (score.entry, key) in seen:
                raise ValueError(f"{_place(score)}: scored twice; expected one score a run.")
            if self._splits.setdefault(key, score.split) != score.split:
                raise ValueError(f"{_place(score)}: on other samples than the runs it is paired with.")
            seen.add((score.entry, key))
            runs = self._runs.setdefault(score.entry, {})
            if math.isfinite(score.value):
                runs[key] = score
        self.keys = sorted({key for _, key in seen})

    @property
    def entries(self) -> list[str]:
        """In their order of appearance."""
        return list(self._runs)

    @property
    def methods(self) -> list[str]:
        """The entries that are no controls."""
        return [entry for entry in self._runs if entry not in CONTROLS]

    @property
    def unscored(self) -> int:
        """How many of the block's runs no entry has a finite score of."""
        return len(set(self.keys).difference(*self._runs.values()))

    def missing(self, entry: str) -> int:
        """How many of the block's runs this entry lacks; one without a finite value counts as lacking."""
        return len(self.keys) - len(self._runs.get(entry, {}))

    def paired(self, *entries: str) -> Paired:
        """The runs that all of the entries have; those that are missing on one side are left out."""
        rows = [self._runs.get(entry, {}) for entry in entries]
        keys = [key for key in self.keys if all(key in row for row in rows)]
        runs = [row[key] for row in rows for key in keys]
        values = np.array([run.value for run in runs], dtype=float).reshape(len(entries), len(keys))
        splits = np.unique([self._splits[key] for key in keys], return_inverse=True)[1]
        ratio = float(np.mean([run.test_samples / run.train_samples for run in runs])) if runs else math.nan
        return Paired(values, splits, ratio)


def blocks(scores: Iterable[Score]) -> list[Block]:
    """Scores by (data set, regime), in their order of appearance.

    Raises:
        ValueError: no score, two scores of one run, paired runs on different samples, two metrics in a block, or a
            split without samples.
    """
    found: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        found.setdefault((score.data, score.regime), []).append(score)
    if not found:
        raise ValueError("no run to report: expected at least one score.")
    return [Block(own) for own in found.values()]


def _check(score: Score, first: Score) -> None:
    if score.metric != first.metric:
        raise ValueError(
            f"{_place(score)}: scored by {score.metric!r}; expected {first.metric!r}, as the runs before it."
        )
    if score.pooled != first.pooled:
        raise ValueError(f"{_place(score)}: pooled is {score.pooled}; expected {first.pooled}, as the runs before it.")
    if score.train_samples < 1 or score.test_samples < 1:
        raise ValueError(
            f"{_place(score)}: {score.train_samples} training and {score.test_samples} test samples; "
            "expected at least 1 of each."
        )


def _place(score: Score) -> str:
    return f"{score.data}, {score.regime}, {score.entry}, fold {score.fold}, seed {score.seed}"
