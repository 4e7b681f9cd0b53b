"""The scores of runs, the names of entries that stand in every table, and runs paired by fold and seed."""

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

    >>> Score("digits", "few labels", "kd", 0, 3, "76d7", "accuracy", 0.74, 1439, 108).value
    0.74

    Attributes:
        data: data set.
        regime: what students were given there.
        entry: a line of the tables: a method, or one of ``CONTROLS``.
        fold: subject fold, 0 without folds.
        seed: of the run.
        split: a name, such as a digest, of the samples that it was trained, validated and tested on.
        metric: "accuracy", "qwk", "ccc": larger is better.
        value: in the metric's units; tables print 100 times it as points. NaN: the run is missing.
        train_samples: in its training split.
        test_samples: in its test split.
        pooled: the fold is too small to be scored alone: ``value`` is its share of the score of all folds.
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
    """Write a line of CSV for each run, for statistics of your own.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_scores([], Path(folder, "scores.csv"))
    ...     Path(folder, "scores.csv").read_text()[:28]
    'data,regime,entry,fold,seed,'
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Score)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(score) for score in scores)


def read_scores(path: Path) -> list[Score]:
    """Read what ``write_scores`` wrote. In a file without the column ``pooled`` no score is pooled.

    >>> from tempfile import TemporaryDirectory
    >>> runs = [Score("digits", "few labels", "kd", 0, 3, "76d7", "accuracy", 0.74, 1439, 108)]
    >>> with TemporaryDirectory() as folder:
    ...     write_scores(runs, Path(folder, "scores.csv"))
    ...     read_scores(Path(folder, "scores.csv")) == runs
    True

    Raises:
        OSError: the file cannot be read.
        ValueError: a line lacks a column, or a column of numbers holds something else.
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
    """Scores of some entries on the ``n`` runs that all of them have.

    >>> Paired(np.array([[0.75, 0.5], [0.25, 0.25]]), np.array([0, 1]), ratio=0.25).differences
    array([0.5 , 0.25])

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
    """The scores of one data set in one regime: a table of the report.

    >>> values = {"none": (0.25, 0.5), "kd": (0.75, 0.75)}
    >>> runs = [(entry, seed) for entry in values for seed in range(2)]
    >>> scores = [Score("pen", "few", e, 0, s, f"split {s}", "accuracy", values[e][s], 300, 100) for e, s in runs]
    >>> Block(scores).paired("kd", "none").differences
    array([0.5 , 0.25])
    """

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
        """All entries, in their order of appearance."""
        return list(self._runs)

    @property
    def methods(self) -> list[str]:
        """The entries that are not controls."""
        return [entry for entry in self._runs if entry not in CONTROLS]

    @property
    def unscored(self) -> int:
        """The number of runs for which no entry has a finite score."""
        return len(set(self.keys).difference(*self._runs.values()))

    def missing(self, entry: str) -> int:
        """The number of runs that an entry lacks; a run without a finite score counts as missing."""
        return len(self.keys) - len(self._runs.get(entry, {}))

    def paired(self, *entries: str) -> Paired:
        """The runs that all of these entries have; the others are left out."""
        rows = [self._runs.get(entry, {}) for entry in entries]
        keys = [key for key in self.keys if all(key in row for row in rows)]
        runs = [row[key] for row in rows for key in keys]
        values = np.array([run.value for run in runs], dtype=float).reshape(len(entries), len(keys))
        splits = np.unique([self._splits[key] for key in keys], return_inverse=True)[1]
        ratio = float(np.mean([run.test_samples / run.train_samples for run in runs])) if runs else math.nan
        return Paired(values, splits, ratio)


def blocks(scores: Iterable[Score]) -> list[Block]:
    """Scores by data set and regime, in their order of appearance.

    >>> score = Score("digits", "few labels", "kd", 0, 3, "76d7", "accuracy", 0.74, 1439, 108)
    >>> [(block.data, block.regime, block.entries) for block in blocks([score])]
    [('digits', 'few labels', ['kd'])]

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
