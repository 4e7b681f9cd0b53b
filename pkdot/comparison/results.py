"""From finished runs to the scores that a report is made of."""

import json
from collections.abc import Sequence

from pkdot.comparison.report.pooling import pooled_where_too_small
from pkdot.comparison.report.scores import TEACHER, Score
from pkdot.comparison.run import Run
from pkdot.training.run_folder import RunFolder


def is_scored(run: Run) -> bool:
    """Whether a run has a line in the tables: all but the teachers of controls."""
    return not run.is_teacher or run.entry == TEACHER


def scores(runs: Sequence[Run]) -> list[Score]:
    """What the finished runs scored on their test splits. Folds that are too small to be scored alone are pooled.

    Raises:
        ValueError: as ``pooling.pooled_where_too_small`` does.
    """
    found = []
    for run in runs:
        if not is_scored(run) or not run.done:
            continue
        folder = RunFolder(run.folder)
        result = json.loads(folder.result.read_text(encoding="utf-8"))
        metric = result["primary_metric"]
        score = Score(
            data=run.cell.data,
            regime=run.cell.regime,
            entry=run.entry,
            fold=run.cell.fold,
            seed=run.cell.seed,
            split=result["split_digest"],
            metric=metric,
            value=result["metrics"][metric],
            train_samples=result["train_samples"],
            test_samples=result["samples"],
            pooled=result.get("pooled", False),
        )
        found.append((score, folder.predictions))
    return pooled_where_too_small(found)
