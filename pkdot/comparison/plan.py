"""Which runs a comparison consists of, and where each one lies.

A run folder is named by the run's fingerprint, below the folder of its entry: what was made with other settings or
other data lies beside it, and is neither repeated nor reported.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pkdot.checks import check_range
from pkdot.comparison.config import FIRST_TUNE_SEED, CompareConfig
from pkdot.comparison.grid import Entry, Grid, Settings, TeacherKind, run_config
from pkdot.comparison.report.scores import ALL_LABELS, CONTROLS, TEACHER
from pkdot.config import DataConfig, OptimConfig, StudentRunConfig, TeacherRunConfig
from pkdot.data.content import Opened
from pkdot.data.splits import fold_members
from pkdot.data.study import Study, open_study
from pkdot.metrics import unscorable
from pkdot.tasks import Task
from pkdot.training.distillation import build_criteria
from pkdot.training.fingerprint import NO_TEACHER, Fingerprint, student_fingerprint, teacher_fingerprint
from pkdot.training.run_folder import RunFolder
from pkdot.training.teacher import seen_by_teacher

Stage = Literal["tune", "test"]


@dataclass(frozen=True)
class Cell:
    """What a comparison is made within: runs of one cell share data, split, labels and seed."""

    data: str
    regime: str
    stage: Stage
    fold: int
    seed: int


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        cell: where it belongs.
        entry: its line in the tables.
        config: of the student, or of a teacher.
        fingerprint: of all that decides its result.
        place: the folder of its entry; what was made with other settings or data lies there too.
        folder: the run folder.
        factor: on the balanced weight, where it is one of several that are tried.
    """

    cell: Cell
    entry: str
    config: StudentRunConfig | TeacherRunConfig
    fingerprint: Fingerprint = field(repr=False)
    place: Path
    factor: float | None = None

    @property
    def folder(self) -> Path:
        """Named by the fingerprint."""
        return self.place / self.fingerprint.digest

    @property
    def is_teacher(self) -> bool:
        """Whether others wait for it."""
        return isinstance(self.config, TeacherRunConfig)

    @property
    def teacher(self) -> Path | None:
        """The run folder of a student's teacher."""
        return self.config.teacher if isinstance(self.config, StudentRunConfig) else None

    @property
    def done(self) -> bool:
        """Whether it has been tested, with these settings and these data."""
        try:
            result = json.loads(RunFolder(self.folder).result.read_text(encoding="utf-8"))
            return bool(result["fingerprint"] == self.fingerprint.digest)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False


@dataclass(frozen=True)
class DataSet:
    """What the plan has to know of a data set; ``folds`` is 1 where each seed makes a split of its own."""

    task: Task
    folds: int
    opened: Opened = field(repr=False)


def look_at(grid: Grid) -> dict[str, DataSet]:
    """Open each data set of the grid. Raises ``ValueError`` for one that cannot be used."""
    found = {}
    for name, settings in grid.sets.items():
        config = run_config(settings)
        opened = Opened.of(config.data)
        folds = config.data.folds
        count = len(fold_members(opened.dataset.records, folds, config.data.split_seed)) if folds else 1
        task = opened.dataset.schema.task.with_loss(config.optim.task_loss)
        known = [record.target for record in opened.dataset.records if record.target is not None]
        if known and (reason := unscorable(task.primary_metric, np.array(known))):
            raise ValueError(f"{name}: nothing on it can be scored by {task.primary_metric}, since {reason}.")
        found[name] = DataSet(task, count, opened)
    return found


class Plan:
    """The runs of a grid. Nothing is run or written here.

    Args:
        grid: what is compared.
        config: seeds, factors and folders.

    Attributes:
        sets: what the data sets are.
        left_out: why an entry is not run on a data set, where its method does not fit the task.

    Raises:
        ValueError: a data set cannot be opened, a setting is out of range, or two names make one folder.
    """

    def __init__(self, grid: Grid, config: CompareConfig) -> None:
        self.grid, self.config = grid, config
        self.sets = look_at(grid)
        self._planned: dict[str, list[Run]] = {}
        self._taught: dict[tuple[Cell, TeacherKind], Run] = {}
        self._prepared: tuple[str, Study] | None = None
        self.left_out = self._misfits()
        for kind, names in (("data sets", grid.sets), ("regimes", grid.regimes), ("entries", grid.entries)):
            if len({slug(name) for name in names}) < len(names):
                raise ValueError(f"two {kind} would share a folder: {', '.join(names)}.")
        for data, seeds in grid.seeds.items():
            check_range(f"sets.{data}.seeds", seeds, 1, FIRST_TUNE_SEED - config.first_seed)

    def _misfits(self) -> dict[tuple[str, str], str]:
        return {
            (data, name): reason
            for data in self.sets
            for name, entry in self.grid.entries.items()
            if data in (entry.only_sets or self.grid.sets) and (reason := self._misfit(data, entry))
        }

    def blocks(self) -> Iterator[tuple[str, str]]:
        """Each data set in each regime: a table of the report."""
        for data in self.grid.sets:
            for name, regime in self.grid.regimes.items():
                if data in (regime.only_sets or self.grid.sets):
                    yield data, name

    def tuned(self, data: str, regime: str) -> list[str]:
        """The entries of a block whose weight is chosen."""
        return [name for name in self.entries(data, regime) if self.grid.entries[name].tuned]

    def tuning(self, data: str, regime: str, wanted: Sequence[str]) -> list[Run]:
        """The runs on whose validation scores the weights of the wanted entries of a block are chosen."""
        # Whoever shares a folder does so whether or not both are wanted.
        runs = self._once(f"tune {data} / {regime}", lambda: self._tuning(data, regime))
        students = [run for run in runs if run.entry in wanted]
        teachers = {run.teacher for run in students}
        return [run for run in runs if run.folder.resolve() in teachers] + students

    def testing(self, data: str, regime: str, factors: Mapping[str, float]) -> list[Run]:
        """The runs of a block that are compared, with the chosen factors."""
        key = f"test {data} / {regime} {sorted(factors.items())}"
        return self._once(key, lambda: self._testing(data, regime, factors))

    def _once(self, key: str, make: Callable[[], list[Run]]) -> list[Run]:
        """What was planned before is looked up: thousands of configs take seconds."""
        if key not in self._planned:
            self._planned[key] = _shared(make())
        return list(self._planned[key])

    def _tuning(self, data: str, regime: str) -> list[Run]:
        entries = self.tuned(data, regime)
        runs: list[Run] = []
        for seed in range(FIRST_TUNE_SEED, FIRST_TUNE_SEED + self.config.tune_seeds):
            cell = Cell(data, regime, "tune", 0, seed)
            runs += self._teachers(cell, entries)
            runs += [self._student(cell, name, factor) for name in entries for factor in self.config.tune]
        return runs

    def _testing(self, data: str, regime: str, factors: Mapping[str, float]) -> list[Run]:
        entries = self.entries(data, regime)
        runs: list[Run] = []
        seeds = self.grid.seeds.get(data, self.config.seeds)
        for seed in range(self.config.first_seed, self.config.first_seed + seeds):
            for fold in range(self.sets[data].folds):
                cell = Cell(data, regime, "test", fold, seed)
                runs += self._teachers(cell, entries)
                runs += [self._student(cell, name, factors.get(name), tested=True) for name in entries]
        return runs

    def entries(self, data: str, regime: str) -> list[str]:
        """The entries that are run there."""
        only = self.grid.regimes[regime].only_entries
        wanted = {*only, *CONTROLS} if only else set(self.grid.entries)
        names = [
            name
            for name, entry in self.grid.entries.items()
            if name in wanted and data in (entry.only_sets or self.grid.sets) and (data, name) not in self.left_out
        ]
        given = run_config(self.grid.sets[data], *self.grid.regimes[regime].on(data)).data
        return [name for name in names if name != ALL_LABELS or given.labels < 1 or given.label_noise > 0]

    def place(self, data: str, regime: str) -> Path:
        """The folder of a data set in a regime."""
        return self.config.out / slug(data) / slug(regime)

    def _misfit(self, data: str, entry: Entry) -> str:
        try:
            distill = run_config(entry.settings, self._fitting(data, entry)).distill
            build_criteria(distill, self.sets[data].task, student_width=1, teacher_width=1, samples=1)
        except ValueError as error:
            return str(error)
        return ""

    def _fitting(self, data: str, entry: Entry) -> Settings:
        """The controls' distillation of predictions: by their squared difference where there are no logits."""
        control = entry.teacher != "privileged" and entry.method == "kd"
        return {"distill": {"method": "mse"}} if control and self.sets[data].task.loss != "cross-entropy" else {}

    def _settings(self, cell: Cell) -> list[Settings]:
        """Of everybody in the cell. Without folds each seed splits the subjects anew.

        With folds each fold has labels and weights of its own too: equal ones would tie the folds to each other.
        """
        regime, config = self.grid.regimes[cell.regime], self.config
        folds = self.sets[cell.data].folds
        seed = cell.seed * folds + cell.fold
        split = {"fold": cell.fold, "label_seed": seed} if folds > 1 else {"split_seed": seed}
        run = {"seed": seed, "threads": config.threads, "device": config.device, "picture_epochs": 0}
        return [self.grid.sets[cell.data], *regime.on(cell.data), {"data": split, "run": run}]

    def _ready(self, cell: Cell, data: DataConfig, optim: OptimConfig) -> Study:
        """The data of a cell. The last one is kept: runs come cell by cell."""
        key = repr((cell.data, data, optim.task_loss))
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = key, open_study(data, optim, seed=0, opened=self.sets[cell.data].opened)
        return self._prepared[1]

    def _place(self, cell: Cell, name: str) -> Path:
        return self.place(cell.data, cell.regime) / cell.stage / f"fold{cell.fold}-seed{cell.seed}" / name

    def _teachers(self, cell: Cell, entries: Sequence[str]) -> list[Run]:
        wanted: list[TeacherKind] = ["privileged"]
        for name in entries:
            entry = self.grid.entries[name]
            if entry.method != "none" and entry.teacher not in wanted:
                wanted.append(entry.teacher)
        return [self._teacher(cell, kind) for kind in wanted]

    def _teacher(self, cell: Cell, kind: TeacherKind) -> Run:
        if (cell, kind) not in self._taught:
            self._taught[cell, kind] = self._new_teacher(cell, kind)
        return self._taught[cell, kind]

    def _new_teacher(self, cell: Cell, kind: TeacherKind) -> Run:
        own: Settings = {"model": {"teacher": "concat"}} if kind == "self" else {}
        whole = run_config(*self._settings(cell), self.grid.regimes[cell.regime].teacher, own)
        config = TeacherRunConfig(whole.data, whole.model, whole.optim, whole.run, privileged=kind == "privileged")
        study = seen_by_teacher(config, self._ready(cell, config.data, config.optim))
        entry = TEACHER if kind == "privileged" else f"{kind} teacher"
        place = self._place(cell, f"teacher-{kind}")
        return Run(cell, entry, config, teacher_fingerprint(config, study), place)

    def _student(self, cell: Cell, name: str, factor: float | None, *, tested: bool = False) -> Run:
        entry = self.grid.entries[name]
        own: Settings = {} if factor is None else {"distill": {"balance": factor}}
        config = run_config(*self._settings(cell), entry.settings, self._fitting(cell.data, entry), own)
        learned = NO_TEACHER
        if entry.method != "none":
            teacher = self._teacher(cell, entry.teacher)
            learned = teacher.fingerprint.digest
            config = replace(config, teacher=teacher.folder.resolve())
        fingerprint = student_fingerprint(config, self._ready(cell, config.data, config.optim), learned)
        place = self._place(cell, slug(name) if tested or factor is None else f"{slug(name)}-x{factor:g}")
        return Run(cell, name, config, fingerprint, place, factor)


def _shared(runs: list[Run]) -> list[Run]:
    """With one folder for runs that are the same: where a teacher only concatenates, without the privileged modalities
    it is the student's own architecture.
    """
    first: dict[tuple[Cell, str], Path] = {}
    shared: dict[Path, Path] = {}
    found = []
    for run in runs:
        config = run.config
        if isinstance(config, StudentRunConfig) and config.teacher is not None:
            config = replace(config, teacher=shared[config.teacher])
        same = replace(run, config=config, place=first.setdefault((run.cell, run.fingerprint.digest), run.place))
        shared[run.folder.resolve()] = same.folder.resolve()
        found.append(same)
    return found


def aliases(runs: Sequence[Run]) -> dict[tuple[str, ...], list[str]]:
    """Entries whose students are the same runs, with the data sets where they are."""
    entries: dict[tuple[str, Path], list[str]] = {}
    for run in runs:
        if not run.is_teacher:
            entries.setdefault((run.cell.data, run.folder), []).append(run.entry)
    found: dict[tuple[str, ...], list[str]] = {}
    for (data, _), own in entries.items():
        if len(own) > 1 and data not in found.setdefault(tuple(own), []):
            found[tuple(own)].append(data)
    return found


def slug(name: str) -> str:
    """A name as a folder's: letters, digits, points and hyphens."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.").lower() or "unnamed"
