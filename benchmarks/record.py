"""A comparison's scores and weights, read back: what was run on one machine is not repeated on another."""

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from pkdot.comparison.block import PlannedBlock
from pkdot.comparison.plan import Plan
from pkdot.comparison.report.scores import Score, read_scores
from pkdot.comparison.results import is_scored
from pkdot.comparison.run import Cell, Run, distinct
from pkdot.comparison.tuning import WEIGHTS, compared_runs, deciding, frozen_factors
from pkdot.storage import write_text
from pkdot.training.run_folder import RunFolder

Key = tuple[str, str, int, int, str]


def write_record(plan: Plan, scores: Path, weights: Path) -> None:
    """Record the scores in the plan's folder, and the chosen weights of all blocks in one file.

    A record of the same scores stays as it is.
    """
    own = plan.config.out / "scores.csv"
    if list(_read(scores).values()) != read_scores(own):
        shutil.copy(own, scores)
    chosen = {block.name: block.folder / WEIGHTS for block in plan.blocks}
    found = {name: _without_runs(path) for name, path in chosen.items() if path.is_file()}
    if found:
        write_text(weights, json.dumps(found, indent=1) + "\n")


def lay_out(plan: Plan, scores: Path, weights: Path) -> int:
    """Make the folders of recorded runs that do not exist yet, without networks; returns how many it made.

    A cell (a fold and seed of a data set and regime) is laid out only if all of its runs are recorded: a student that
    is still to be trained needs its teacher's network.
    """
    recorded = _read(scores)
    chosen = json.loads(weights.read_text("utf-8")) if weights.is_file() else {}
    cells: dict[Cell, list[Run]] = defaultdict(list)
    for block in plan.blocks:
        own = block.folder / WEIGHTS
        if not own.exists() and (weighed := _still_valid(block, plan, chosen.get(block.name, {}))):
            own.parent.mkdir(parents=True, exist_ok=True)
            write_text(own, json.dumps(weighed, indent=2) + "\n")
        for run in block.testing(frozen_factors(block)):
            cells[run.cell].append(run)
    count = 0
    for runs in cells.values():
        found = {run.folder: recorded.get(_key(run)) for run in runs if is_scored(run)}
        if None not in found.values() and not any(run.folder.exists() for run in runs):
            for run in distinct(runs):
                _write(run, found.get(run.folder))
                count += 1
    return count


def lost(plan: Plan, scores: Path) -> list[str]:
    """The recorded runs of a plan that are not finished below its folder, by name."""
    recorded = _read(scores)
    runs = [run for run in compared_runs(plan) if is_scored(run)]
    return [" / ".join(map(str, _key(run))) for run in runs if _key(run) in recorded and not run.done]


def _still_valid(block: PlannedBlock, plan: Plan, chosen: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The recorded choices of a block that were made among the plan's factors, as if the plan's runs had made them."""
    factors = {f"{factor:g}" for factor in plan.config.tune}
    return {
        entry: choice | {"runs": deciding(block.tried[entry])}
        for entry, choice in chosen.items()
        if entry in block.tried and choice["validation"].keys() == factors
    }


def _without_runs(path: Path) -> dict[str, dict[str, Any]]:
    """The choices in ``weights.json`` without the digests of the runs that decided them: other plans have others."""
    chosen = json.loads(path.read_text("utf-8"))
    return {entry: {"factor": own["factor"], "validation": own["validation"]} for entry, own in chosen.items()}


def _write(run: Run, score: Score | None) -> None:
    """Write a run's folder as if it were finished. Files are not forced to the disk: they can be written again."""
    folder = RunFolder(run.folder)
    run.folder.mkdir(parents=True)
    folder.fingerprint.write_text(run.fingerprint.text, encoding="utf-8")
    result = _result(score) | {"fingerprint": run.fingerprint.digest}
    folder.result.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _result(score: Score | None) -> dict[str, Any]:
    """Of a run; nothing is recorded of the teachers of controls."""
    if score is None:
        return {"recorded": True}
    return {
        "recorded": True,
        "split_digest": score.split,
        "primary_metric": score.metric,
        "metrics": {score.metric: score.value},
        "train_samples": score.train_samples,
        "samples": score.test_samples,
        "pooled": score.pooled,
    }


def _key(run: Run) -> Key:
    return run.cell.data, run.cell.regime, run.cell.fold, run.cell.seed, run.entry


def _read(path: Path) -> dict[Key, Score]:
    """The recorded scores by run; none without a record."""
    found = read_scores(path) if path.is_file() else []
    return {(score.data, score.regime, score.fold, score.seed, score.entry): score for score in found}
