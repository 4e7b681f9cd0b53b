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
"""With fewer there is nothing to rank."""


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of entries over blocks, best first.

    Attributes:
        entries: the methods that were ranked, and the undistilled student.
        mean_ranks: of each, 1 = best everywhere.
        blocks: (data set, regime) in which all of them took part.
        left_out: methods that took part in too few blocks to be ranked with the others.
        p: of Friedman's test that all are equal.
        critical_difference: two mean ranks that lie further apart differ at the 5 % level.
    """

    entries: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    blocks: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    p: float
    critical_difference: float

    @property
    def groups(self) -> list[tuple[int, int]]:
        """First and last place of each longest run of entries that do not differ, as a diagram's bars show them."""
        count = len(self.entries)
        reach = [
            max(j for j in range(count) if self.mean_ranks[j] - self.mean_ranks[i] <= self.critical_difference)
            for i in range(count)
        ]
        longest = [(i, last) for i, last in enumerate(reach) if i == 0 or last > reach[i - 1]]
        return [(first, last) for first, last in longest if last > first]


def nemenyi(entries: int, blocks: int) -> float:
    """Critical difference of mean ranks: q sqrt(k (k + 1) / (6 N)), q from the studentised range over sqrt(2)."""
    q = float(stats.studentized_range.ppf(1 - LEVEL, entries, math.inf)) / math.sqrt(2)
    return q * math.sqrt(entries * (entries + 1) / (6 * blocks))


def friedman(values: ArrayLike) -> float:
    """P of Friedman's test on ``(entries, blocks)``; 1 where no block ranks anybody above anybody."""
    table = np.asarray(values, dtype=float)
    if (np.ptp(table, axis=0) == 0).all():
        return 1.0
    return float(stats.friedmanchisquare(*table).pvalue)


def rank(blocks: Sequence[Block]) -> Ranks | None:
    """Rank the methods and the undistilled student; None for fewer than 3 methods or 2 blocks.

    In a block entries are ranked by their means over the runs that all of them have. A method that fits few data sets
    would leave few blocks that all took part in, so of the methods with at least c blocks, for any c, those are ranked
    that fill the most places in a table of methods x blocks without a gap.
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
