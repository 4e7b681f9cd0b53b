"""A comparison's scores and weights, read back: what was run on one machine is not repeated on another."""

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from pkdot.comparison.compare import is_scored
from pkdot.comparison.plan import Cell, Plan, Run
from pkdot.comparison.tuning import WEIGHTS

RESULT = "result.json"
Key = tuple[str, str, int, int, str]


def write_weights(plan: Plan, path: Path) -> None:
    """The chosen weights of all blocks, in one file."""
    places = {" / ".join(block): plan.place(*block) / WEIGHTS for block in plan.blocks()}
    found = {name: json.loads(place.read_text("utf-8")) for name, place in places.items() if place.is_file()}
    if found:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def lay_out(plan: Plan, scores: Path, weights: Path) -> int:
    """Make the run folders of what is recorded and not there yet, without weights of networks; returns how many.

    A cell (a fold and seed of a data set and regime) is laid out if all that it consists of is recorded: a student that
    is still to be trained needs its teacher's network.
    """
    if not scores.is_file():
        return 0
    recorded = _read(scores)
    if weights.is_file():
        for block, chosen in json.loads(weights.read_text("utf-8")).items():
            data, regime = block.split(" / ")
            place = plan.place(data, regime) / WEIGHTS
            if (data, regime) in plan.blocks() and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(json.dumps(chosen, indent=2) + "\n", encoding="utf-8")
    cells: dict[Cell, list[Run]] = defaultdict(list)
    for run in [run for block in plan.blocks() for run in plan.testing(*block, {})]:
        cells[run.cell].append(run)
    count = 0
    for cell, runs in cells.items():
        rows = {run.folder: recorded.get(_key(cell, run.entry), {}) for run in runs if is_scored(run)}
        if all(rows.values()) and not any(run.folder.exists() for run in runs):
            for folder in dict.fromkeys(run.folder for run in runs):
                folder.mkdir(parents=True)
                (folder / RESULT).write_text(
                    json.dumps(_result(rows.get(folder, {})), indent=2) + "\n", encoding="utf-8"
                )
                count += 1
    return count


def _result(row: dict[str, str]) -> dict[str, Any]:
    """Of a run; nothing is recorded of the teachers of controls."""
    if not row:
        return {"recorded": True}
    return {
        "recorded": True,
        "split_digest": row["split"],
        "primary_metric": row["metric"],
        "metrics": {row["metric"]: float(row["value"])},
        "train_samples": int(row["train_samples"]),
        "samples": int(row["test_samples"]),
    }


def _key(cell: Cell, entry: str) -> Key:
    return cell.data, cell.regime, cell.fold, cell.seed, entry


def _read(path: Path) -> dict[Key, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (row["data"], row["regime"], int(row["fold"]), int(row["seed"]), row["entry"]): row
            for row in csv.DictReader(file)
        }
