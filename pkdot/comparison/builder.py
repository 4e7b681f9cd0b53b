"""The runs of a cell: the config, the data and the fingerprint of each teacher and student."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pkdot.comparison.config import CompareConfig
from pkdot.comparison.grid import Grid, Settings, TeacherKind, run_config
from pkdot.comparison.report.scores import TEACHER
from pkdot.comparison.run import Cell, Run, block_folder, slug
from pkdot.comparison.sets import DataSet
from pkdot.config import DataConfig, OptimConfig, TeacherRunConfig
from pkdot.data.study import Study, open_study
from pkdot.training.fingerprint import NO_TEACHER, student_fingerprint, teacher_fingerprint
from pkdot.training.teacher import seen_by_teacher


class RunBuilder:
    """Makes runs from the settings of a grid. Nothing is trained or written here.

    Args:
        grid: what is compared.
        config: threads, device and the folder of the comparison.
        sets: the data sets of the grid.
    """

    def __init__(self, grid: Grid, config: CompareConfig, sets: Mapping[str, DataSet]) -> None:
        self._grid, self._config, self._sets = grid, config, sets
        self._taught: dict[tuple[Cell, TeacherKind], Run] = {}
        self._cell: Cell | None = None
        self._studies: dict[str, Study] = {}

    def teachers(self, cell: Cell, entries: Sequence[str]) -> list[Run]:
        """The teachers of a cell that its entries need; the one on all modalities is always there."""
        wanted: list[TeacherKind] = ["privileged"]
        for name in entries:
            entry = self._grid.entries[name]
            if entry.method != "none" and entry.teacher not in wanted:
                wanted.append(entry.teacher)
        return [self._teacher(cell, kind) for kind in wanted]

    def student(self, cell: Cell, name: str, factor: float | None, *, tested: bool = False) -> Run:
        """The student of an entry.

        Args:
            cell: where it belongs.
            name: of the entry.
            factor: on the balanced weight; None for an entry that is not tuned.
            tested: whether the factor is chosen already. If not, its folder is named by it.
        """
        entry, data = self._grid.entries[name], self._sets[cell.data]
        own: Settings = {} if factor is None else {"distill": {"balance": factor}}
        config = run_config(*self._settings(cell), entry.settings, data.fitting(entry), own)
        learned = NO_TEACHER
        if entry.method != "none":
            teacher = self._teacher(cell, entry.teacher)
            learned = teacher.fingerprint.digest
            config = replace(config, teacher=teacher.absolute_folder)
        fingerprint = student_fingerprint(config, self._study(cell, config.data, config.optim), learned)
        place = self._place(cell, slug(name) if tested or factor is None else f"{slug(name)}-x{factor:g}")
        return Run(cell, name, config, fingerprint, place, factor)

    def _teacher(self, cell: Cell, kind: TeacherKind) -> Run:
        if (cell, kind) not in self._taught:
            self._taught[cell, kind] = self._new_teacher(cell, kind)
        return self._taught[cell, kind]

    def _new_teacher(self, cell: Cell, kind: TeacherKind) -> Run:
        own: Settings = {"model": {"teacher": "concat"}} if kind == "self" else {}
        whole = run_config(*self._settings(cell), self._grid.regimes[cell.regime].teacher, own)
        config = TeacherRunConfig(whole.data, whole.model, whole.optim, whole.run, privileged=kind == "privileged")
        study = self._seen(cell, config)
        entry = TEACHER if kind == "privileged" else f"{kind} teacher"
        return Run(cell, entry, config, teacher_fingerprint(config, study), self._place(cell, f"teacher-{kind}"))

    def _settings(self, cell: Cell) -> list[Settings]:
        """The settings of everybody in the cell. Without folds each seed splits the subjects anew.

        With folds each fold has a seed of its own for labels and weights: equal ones would make the folds depend on
        each other.
        """
        regime, folds = self._grid.regimes[cell.regime], self._sets[cell.data].folds
        seed = cell.seed * folds + cell.fold
        split = {"fold": cell.fold, "label_seed": seed} if folds > 1 else {"split_seed": seed}
        run = {"seed": seed, "threads": self._config.threads, "device": self._config.device, "picture_epochs": 0}
        return [self._grid.sets[cell.data], *regime.on(cell.data), {"data": split, "run": run}]

    def _study(self, cell: Cell, data: DataConfig, optim: OptimConfig) -> Study:
        """The data of a run. Those of the last cell are kept: runs come cell by cell."""
        if self._cell != cell:
            self._cell, self._studies = cell, {}
        key = repr((data, optim.task_loss))
        if key not in self._studies:
            self._studies[key] = open_study(data, optim, seed=0, opened=self._sets[cell.data].opened)
        return self._studies[key]

    def _seen(self, cell: Cell, config: TeacherRunConfig) -> Study:
        """The data of a teacher. Those without the privileged modalities are kept too: digests take milliseconds."""
        study = self._study(cell, config.data, config.optim)
        if config.privileged:
            return study
        key = repr((config.data, config.optim.task_loss, "prevalent"))
        if key not in self._studies:
            self._studies[key] = seen_by_teacher(config, study)
        return self._studies[key]

    def _place(self, cell: Cell, name: str) -> Path:
        folder = block_folder(self._config.out, cell.data, cell.regime)
        return folder / cell.stage / f"fold{cell.fold}-seed{cell.seed}" / name
