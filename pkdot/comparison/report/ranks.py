"""Methods over several data sets: mean ranks, Friedman's test and Nemenyi's critical difference (Demsar 2006)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pkdot.comparison.report.inference import LEVEL
from pkdot.comparison.report.scores import NONE, Block

MIN_METHODS, MIN_BLOCKS = 3, 2
"""With fewer methods or blocks nothing is ranked."""


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of entries over blocks, best first.

    >>> found = Ranks(("kd", "ot", "none"), (1.0, 2.2, 2.8), (("digits", "few"), ("pen", "few")), (), 0.04, 0.9)
    >>> found.groups
    [(1, 2)]

    Attributes:
        entries: the methods that were ranked, and the undistilled student.
        mean_ranks: of each entry; 1 is best everywhere.
        blocks: (data set, regime) in which all of them took part.
        left_out: methods that took part in too few blocks to be ranked with the others.
        p: of Friedman's test that all entries are equal.
        critical_difference: mean ranks that lie further apart differ at the 5 % level.
    """

    entries: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    blocks: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    p: float
    critical_difference: float

    @property
    def groups(self) -> list[tuple[int, int]]:
        """First and last place of each group of entries that are not shown to differ: the bars of the diagram."""
        count = len(self.entries)
        reach = [
            max(j for j in range(count) if self.mean_ranks[j] - self.mean_ranks[i] <= self.critical_difference)
            for i in range(count)
        ]
        longest = [(i, last) for i, last in enumerate(reach) if i == 0 or last > reach[i - 1]]
        return [(first, last) for first, last in longest if last > first]


def nemenyi(entries: int, blocks: int) -> float:
    """Critical difference of mean ranks: q sqrt(k (k + 1) / (6 N)), with q from the studentised range over sqrt(2).

    >>> round(nemenyi(entries=4, blocks=14), 2)
    1.25
    """
    q = float(stats.studentized_range.ppf(1 - LEVEL, entries, math.inf)) / math.sqrt(2)
    return q * math.sqrt(entries * (entries + 1) / (6 * blocks))


def friedman(values: ArrayLike) -> float:
    """P value of Friedman's test on scores ``(entries, blocks)``; 1 if all entries are equal in every block.

    >>> round(friedman([[0.9, 0.8, 0.9], [0.8, 0.7, 0.8], [0.5, 0.6, 0.7]]), 3)
    0.05
    """
    table = np.asarray(values, dtype=float)
    if (np.ptp(table, axis=0) == 0).all():
        return 1.0
    return float(stats.friedmanchisquare(*table).pvalue)


def rank(blocks: Sequence[Block]) -> Ranks | None:
    """Rank the methods and the undistilled student; None for fewer than 3 methods or 2 blocks.

    In each block the entries are ranked by their means over the runs that all of them have. All ranked methods have to
    take part in all blocks, so a method that fits few data sets would leave few blocks. Therefore, for each number c,
    the methods with at least c blocks are taken, and the c that fills the largest table of methods x blocks wins.

    >>> from pkdot.comparison.report.scores import Score, blocks
    >>> values = {"none": 0.6, "kd": 0.7, "ot": 0.65, "hint": 0.62}
    >>> runs = [(data, entry) for data in ("digits", "pen") for entry in values]
    >>> scores = [Score(data, "few", entry, 0, 0, "s", "accuracy", values[entry], 300, 100) for data, entry in runs]
    >>> rank(blocks(scores)).entries
    ('kd', 'ot', 'hint', 'none')
    """
    chosen = _fullest(blocks)
    if chosen is None:
        return None
    methods, shared = chosen
    entries = [*methods, NONE]
    table = np.array([block.paired(*entries).values.mean(axis=1) for block in shared]).T
    ranks = stats.rankdata(-table.round(12), axis=0).mean(axis=1)
    order = np.argsort(ranks, kind="stable")
    everybody = dict.fromkeys(method for block in blocks for method in block.methods)
    return Ranks(
        entries=tuple(entries[i] for i in order),
        mean_ranks=tuple(float(ranks[i]) for i in order),
        blocks=tuple((block.data, block.regime) for block in shared),
        left_out=tuple(method for method in everybody if method not in methods),
        p=friedman(table.round(12)),
        critical_difference=nemenyi(len(entries), len(shared)),
    )


def _fullest(blocks: Sequence[Block]) -> tuple[list[str], list[Block]] | None:
    took_part: dict[str, int] = {}
    for block in blocks:
        for method in block.methods:
            took_part[method] = took_part.get(method, 0) + bool(block.paired(method, NONE).differences.size)
    best, size = None, 0
    for least in sorted(set(took_part.values()), reverse=True):
        methods = [method for method, count in took_part.items() if count >= least]
        shared = [block for block in blocks if block.paired(*methods, NONE).splits.size]
        enough = len(methods) >= MIN_METHODS and len(shared) >= MIN_BLOCKS
        if enough and len(methods) * len(shared) > size:
            best, size = (methods, shared), len(methods) * len(shared)
    return best
