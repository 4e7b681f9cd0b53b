"""Which runs a comparison consists of.

A run folder is named by the run's fingerprint, below the folder of its entry. Runs with other settings or other data
lie beside it; they are neither repeated nor reported.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pkdot.checks import check_range
from pkdot.comparison.builder import RunBuilder
from pkdot.comparison.config import FIRST_TUNE_SEED, CompareConfig
from pkdot.comparison.grid import Grid, run_config
from pkdot.comparison.report.scores import ALL_LABELS, CONTROLS
from pkdot.comparison.run import Block, Cell, Run, slug, with_shared_folders
from pkdot.comparison.sets import open_sets


class Plan:
    """The runs of a grid. Nothing is trained or written here.

    Args:
        grid: what is compared.
        config: seeds, factors and folders.

    Attributes:
        sets: the opened data sets by name.
        left_out: why an entry is not run on a data set, where its method does not fit the task.

    Raises:
        ValueError: a data set cannot be opened, a setting is out of range, or two names would share a folder.
    """

    def __init__(self, grid: Grid, config: CompareConfig) -> None:
        self.grid, self.config = grid, config
        self.sets = open_sets(grid)
        self._builder = RunBuilder(grid, config, self.sets)
        self._planned: dict[str, list[Run]] = {}
        self.left_out = {
            (data, name): reason
            for data, opened in self.sets.items()
            for name, entry in grid.entries.items()
            if data in (entry.only_sets or grid.sets) and (reason := opened.misfit(entry))
        }
        for kind, names in (("data sets", grid.sets), ("regimes", grid.regimes), ("entries", grid.entries)):
            if len({slug(name) for name in names}) < len(names):
                raise ValueError(f"two {kind} would share a folder: {', '.join(names)}.")
        for data, seeds in grid.seeds.items():
            check_range(f"sets.{data}.seeds", seeds, 1, FIRST_TUNE_SEED - config.first_seed)

    def blocks(self) -> Iterator[Block]:
        """Each data set in each regime: a table of the report."""
        for data in self.grid.sets:
            for name, regime in self.grid.regimes.items():
                if data in (regime.only_sets or self.grid.sets):
                    yield data, name

    def entries(self, data: str, regime: str) -> list[str]:
        """The entries that are run in a block."""
        only = self.grid.regimes[regime].only_entries
        wanted = {*only, *CONTROLS} if only else set(self.grid.entries)
        names = [
            name
            for name, entry in self.grid.entries.items()
            if name in wanted and data in (entry.only_sets or self.grid.sets) and (data, name) not in self.left_out
        ]
        given = run_config(self.grid.sets[data], *self.grid.regimes[regime].on(data)).data
        return [name for name in names if name != ALL_LABELS or given.labels < 1 or given.label_noise > 0]

    def tuned(self, data: str, regime: str) -> list[str]:
        """The entries of a block whose weight is chosen on validation splits."""
        return [name for name in self.entries(data, regime) if self.grid.entries[name].tuned]

    def tuning(self, data: str, regime: str, wanted: Sequence[str]) -> list[Run]:
        """The runs on whose validation scores the weights of the wanted entries of a block are chosen."""
        # All of them are planned: which entries share a folder must not depend on which are wanted.
        runs = self._once(f"tune {data} / {regime}", lambda: self._tuning(data, regime))
        students = [run for run in runs if run.entry in wanted]
        teachers = {run.teacher for run in students}
        return [run for run in runs if run.is_teacher and run.absolute_folder in teachers] + students

    def testing(self, data: str, regime: str, factors: Mapping[str, float]) -> list[Run]:
        """The runs of a block that are compared, with the chosen factors."""
        key = f"test {data} / {regime} {sorted(factors.items())}"
        return self._once(key, lambda: self._testing(data, regime, factors))

    def folder(self, data: str, regime: str) -> Path:
        """The folder of a block."""
        return self._builder.folder(data, regime)

    def _once(self, key: str, make: Callable[[], list[Run]]) -> list[Run]:
        """Look up what was planned before: thousands of runs take seconds."""
        if key not in self._planned:
            self._planned[key] = with_shared_folders(make())
        return list(self._planned[key])

    def _tuning(self, data: str, regime: str) -> list[Run]:
        entries = self.tuned(data, regime)
        runs: list[Run] = []
        for seed in range(FIRST_TUNE_SEED, FIRST_TUNE_SEED + self.config.tune_seeds):
            cell = Cell(data, regime, "tune", 0, seed)
            runs += self._builder.teachers(cell, entries)
            runs += [self._builder.student(cell, name, factor) for name in entries for factor in self.config.tune]
        return runs

    def _testing(self, data: str, regime: str, factors: Mapping[str, float]) -> list[Run]:
        entries = self.entries(data, regime)
        runs: list[Run] = []
        seeds = self.grid.seeds.get(data, self.config.seeds)
        for seed in range(self.config.first_seed, self.config.first_seed + seeds):
            for fold in range(self.sets[data].folds):
                cell = Cell(data, regime, "test", fold, seed)
                runs += self._builder.teachers(cell, entries)
                runs += [self._builder.student(cell, name, factors.get(name), tested=True) for name in entries]
        return runs
