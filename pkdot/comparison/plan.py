"""Which runs a comparison consists of.

A run folder is named by the run's fingerprint, below the folder of its entry. Runs with other settings or other data
lie beside it; they are neither repeated nor reported.
"""

from pkdot.checks import check_range
from pkdot.comparison.block import PlannedBlock
from pkdot.comparison.builder import RunBuilder
from pkdot.comparison.config import FIRST_TUNE_SEED, CompareConfig
from pkdot.comparison.grid import Grid, run_config
from pkdot.comparison.report.scores import ALL_LABELS, CONTROLS
from pkdot.comparison.run import Cell, block_folder, slug
from pkdot.comparison.sets import open_sets


class Plan:
    """The runs of a grid. Nothing is trained or written here.

    Args:
        grid: what is compared.
        config: seeds, factors and folders.

    Attributes:
        sets: the opened data sets by name.
        blocks: each data set in each regime, with its runs.
        left_out: why an entry is not run on a data set, where its method does not fit the task.

    Raises:
        ValueError: a data set cannot be opened, a setting is out of range, or two names would share a folder.
    """

    def __init__(self, grid: Grid, config: CompareConfig) -> None:
        self.grid, self.config = grid, config
        self.sets = open_sets(grid)
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
        self.blocks = [
            self._block(data, name)
            for data in grid.sets
            for name, regime in grid.regimes.items()
            if data in (regime.only_sets or grid.sets)
        ]

    def block(self, data: str, regime: str) -> PlannedBlock:
        """The block of a data set and a regime. Raises ``KeyError`` if there is none."""
        return {(block.data, block.regime): block for block in self.blocks}[data, regime]

    def _block(self, data: str, regime: str) -> PlannedBlock:
        config = self.config
        entries = self._entries(data, regime)
        first, seeds = config.first_seed, self.grid.seeds.get(data, config.seeds)
        tune_seeds = range(FIRST_TUNE_SEED, FIRST_TUNE_SEED + config.tune_seeds)
        return PlannedBlock(
            data=data,
            regime=regime,
            folder=block_folder(config.out, data, regime),
            entries=entries,
            tuned=[name for name in entries if self.grid.entries[name].tuned],
            factors=config.tune,
            tuning_cells=[Cell(data, regime, "tune", 0, seed) for seed in tune_seeds],
            test_cells=[
                Cell(data, regime, "test", fold, seed)
                for seed in range(first, first + seeds)
                for fold in range(self.sets[data].folds)
            ],
            builder=RunBuilder(self.grid, config, self.sets),
        )

    def _entries(self, data: str, regime: str) -> list[str]:
        """The entries that are run in a block. The control "all labels" is run only where labels are missing."""
        only = self.grid.regimes[regime].only_entries
        wanted = {*only, *CONTROLS} if only else set(self.grid.entries)
        names = [
            name
            for name, entry in self.grid.entries.items()
            if name in wanted and data in (entry.only_sets or self.grid.sets) and (data, name) not in self.left_out
        ]
        given = run_config(self.grid.sets[data], *self.grid.regimes[regime].on(data)).data
        return [name for name in names if name != ALL_LABELS or given.labels < 1 or given.label_noise > 0]
