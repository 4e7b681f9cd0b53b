"""What a plan has to know of each data set: its task, its folds, and which entries fit the task."""

from dataclasses import dataclass, field

import numpy as np

from pkdot.comparison.grid import Entry, Grid, Settings, run_config
from pkdot.data.content import Opened
from pkdot.data.splits import fold_members
from pkdot.metrics import unscorable
from pkdot.tasks import Task
from pkdot.training.distillation import build_criteria


@dataclass(frozen=True)
class DataSet:
    """A data set of the grid; ``folds`` is 1 where each seed makes a split of its own."""

    task: Task
    folds: int
    opened: Opened = field(repr=False)

    def fitting(self, entry: Entry) -> Settings:
        """The controls distil predictions: by their squared difference where there are no logits."""
        control = entry.teacher != "privileged" and entry.method == "kd"
        return {"distill": {"method": "mse"}} if control and self.task.loss != "cross-entropy" else {}

    def misfit(self, entry: Entry) -> str:
        """Why an entry's method does not fit the task; empty where it does."""
        try:
            distill = run_config(entry.settings, self.fitting(entry)).distill
            build_criteria(distill, self.task, student_width=1, teacher_width=1, samples=1)
        except ValueError as error:
            return str(error)
        return ""


def open_sets(grid: Grid) -> dict[str, DataSet]:
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
