"""A comparison's scores and weights, read back: what was run on one machine is not repeated on another."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from pkdot.comparison.plan import Plan
from pkdot.comparison.report.scores import Score, read_scores
from pkdot.comparison.results import is_scored
from pkdot.comparison.run import Cell, Run
from pkdot.comparison.tuning import WEIGHTS, deciding, frozen_factors, tried_by_entry
from pkdot.storage import write_text
from pkdot.training.evaluation import write_result
from pkdot.training.run_folder import RunFolder

Key = tuple[str, str, int, int, str]


def write_weights(plan: Plan, path: Path) -> None:
    """The chosen weights of all blocks, in one file."""
    found = {name: json.loads(own.read_text("utf-8")) for name, own in _weights(plan).items() if own.is_file()}
    if found:
        write_text(path, json.dumps(found, indent=1) + "\n")


def lay_out(plan: Plan, scores: Path, weights: Path) -> int:
    """Make the run folders of what is recorded and not there yet, without weights of networks; returns how many.

    A cell (a fold and seed of a data set and regime) is laid out if all that it consists of is recorded: a student that
    is still to be trained needs its teacher's network.
    """
    recorded = _read(scores)
    chosen = json.loads(weights.read_text("utf-8")) if weights.is_file() else {}
    cells: dict[Cell, list[Run]] = defaultdict(list)
    for block in plan.blocks():
        own = plan.folder(*block) / WEIGHTS
        if not own.exists() and (weighed := _still_valid(plan, block, chosen.get(" / ".join(block), {}))):
            own.parent.mkdir(parents=True, exist_ok=True)
            write_text(own, json.dumps(weighed, indent=2) + "\n")
        for run in plan.testing(*block, frozen_factors(plan, *block)):
            cells[run.cell].append(run)
    count = 0
    for runs in cells.values():
        found = {run.folder: recorded.get(_key(run)) for run in runs if is_scored(run)}
        if None not in found.values() and not any(run.folder.exists() for run in runs):
            for folder, run in {run.folder: run for run in runs}.items():
                folder.mkdir(parents=True)
                run.fingerprint.write(RunFolder(folder).fingerprint)
                result = _result(found.get(folder)) | {"fingerprint": run.fingerprint.digest}
                write_result(RunFolder(folder).result, result)
                count += 1
    return count


def lost(plan: Plan, scores: Path) -> list[str]:
    """The recorded runs of a plan that are not finished below its folder, by name."""
    recorded = _read(scores)
    runs = [run for block in plan.blocks() for run in plan.testing(*block, frozen_factors(plan, *block))]
    runs = [run for run in runs if is_scored(run)]
    return [" / ".join(map(str, _key(run))) for run in runs if _key(run) in recorded and not run.done]


def _still_valid(plan: Plan, block: tuple[str, str], chosen: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The recorded choices of a block that were made among the plan's factors, as made by the plan's runs."""
    factors = {f"{factor:g}" for factor in plan.config.tune}
    tried = tried_by_entry(plan, *block)
    return {
        entry: choice | {"runs": deciding(tried[entry])}
        for entry, choice in chosen.items()
        if entry in tried and choice["validation"].keys() == factors
    }


def _weights(plan: Plan) -> dict[str, Path]:
    """Where the chosen weights of each block lie."""
    return {" / ".join(block): plan.folder(*block) / WEIGHTS for block in plan.blocks()}


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
