"""One data set in one regime: its entries, and the runs by which they are tuned and tested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pkdot.comparison.builder import RunBuilder
from pkdot.comparison.run import Cell, Run, with_shared_folders


@dataclass(frozen=True)
class PlannedBlock:
    """A table of the report, before its runs are trained.

    Attributes:
        data: the data set.
        regime: what students and teachers are given.
        folder: the folder of the block.
        entries: the entries that are run here.
        tuned: those of them whose weight is chosen on validation splits.
        factors: among which it is chosen.
        tuning_cells: where weights are chosen.
        test_cells: where entries are compared.
        builder: makes the runs.
    """

    data: str
    regime: str
    folder: Path
    entries: Sequence[str]
    tuned: Sequence[str]
    factors: Sequence[float]
    tuning_cells: Sequence[Cell] = field(repr=False)
    test_cells: Sequence[Cell] = field(repr=False)
    builder: RunBuilder = field(repr=False)
    _tested: dict[str, list[Run]] = field(default_factory=dict, init=False, repr=False)

    @property
    def name(self) -> str:
        """The data set and the regime in one word."""
        return f"{self.data} / {self.regime}"

    @cached_property
    def tuning(self) -> list[Run]:
        """The runs on whose validation scores the weights of all tuned entries are chosen, with their teachers."""
        runs: list[Run] = []
        for cell in self.tuning_cells:
            runs += self.builder.teachers(cell, self.tuned)
            runs += [self.builder.student(cell, name, factor) for name in self.tuned for factor in self.factors]
        return with_shared_folders(runs)

    @cached_property
    def tried(self) -> dict[str, list[Run]]:
        """The students that decide the weight of each tuned entry, one for each factor and seed."""
        found: dict[str, list[Run]] = {entry: [] for entry in self.tuned}
        for run in self.tuning:
            if not run.is_teacher:
                found[run.entry].append(run)
        return found

    def deciding(self, entries: Sequence[str]) -> list[Run]:
        """The runs that decide the weights of these entries, after their teachers."""
        students = [run for run in self.tuning if run.entry in entries]
        teachers = {run.teacher for run in students}
        return [run for run in self.tuning if run.is_teacher and run.absolute_folder in teachers] + students

    def testing(self, factors: Mapping[str, float]) -> list[Run]:
        """The runs that are compared, with the chosen factor of each tuned entry."""
        # Looked up if they were planned before: thousands of runs take seconds.
        key = repr(sorted(factors.items()))
        if key not in self._tested:
            self._tested[key] = self._testing(factors)
        return list(self._tested[key])

    def _testing(self, factors: Mapping[str, float]) -> list[Run]:
        runs: list[Run] = []
        for cell in self.test_cells:
            runs += self.builder.teachers(cell, self.entries)
            runs += [self.builder.student(cell, name, factors.get(name), tested=True) for name in self.entries]
        return with_shared_folders(runs)
