"""The weight of each method: chosen once on validation splits, among the same factors for all, then frozen."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pkdot.comparison.block import PlannedBlock
from pkdot.comparison.plan import Plan
from pkdot.comparison.run import Run
from pkdot.storage import locked, write_text

WEIGHTS = "weights.json"


def compared_runs(plan: Plan) -> list[Run]:
    """All runs that are compared, with the weights that are chosen so far. Raises as ``choose_factors``."""
    return [run for block in plan.blocks for run in block.testing(frozen_factors(block))]


def to_choose(block: PlannedBlock) -> list[Run]:
    """The runs that decide the weights of a block that are not chosen yet."""
    frozen = _frozen(block)
    return block.deciding([entry for entry in block.tuned if entry not in frozen])


def choose_factors(block: PlannedBlock) -> dict[str, float]:
    """The factor of each tuned entry of a block: read if it was chosen before, and chosen now if not.

    The factor with the best mean validation score over the tuning seeds is chosen; of equal ones the smaller. The
    choice is written to ``weights.json`` beside the runs and holds as long as the same runs would decide it.

    Raises:
        ValueError: some of the runs that decide are not finished, or ``weights.json`` cannot be read.
    """
    frozen = _frozen(block)
    new = {entry: _choice(entry, tried) for entry, tried in block.tried.items() if entry not in frozen and tried}
    if new:
        with locked(block.folder, wait=True):
            frozen = new | _frozen(block)
            write_text(block.folder / WEIGHTS, json.dumps(frozen, indent=2) + "\n")
    return {entry: choice["factor"] for entry, choice in frozen.items()}


def frozen_factors(block: PlannedBlock) -> dict[str, float]:
    """The factors that are stored, or whose deciding runs are all finished. Raises as ``choose_factors``."""
    frozen = _frozen(block)
    for entry, tried in block.tried.items():
        if entry not in frozen and tried and all(run.done for run in tried):
            frozen[entry] = _choice(entry, tried)
    return {entry: choice["factor"] for entry, choice in frozen.items()}


def deciding(runs: Sequence[Run]) -> str:
    """A digest of the runs that decide a factor. A choice that other runs decided does not hold."""
    return hashlib.sha256(" ".join(sorted(run.fingerprint.digest for run in runs)).encode()).hexdigest()[:16]


def _choice(entry: str, runs: Sequence[Run]) -> dict[str, Any]:
    scores: dict[float, list[float]] = {}
    for run in runs:
        if run.factor is None or not run.done:
            raise ValueError(
                f"{run.folder}: not finished, and it decides the weight of {entry!r}: run --stage tune first."
            )
        score = json.loads((run.folder / "result.json").read_text(encoding="utf-8"))["validation"]["score"]
        scores.setdefault(run.factor, []).append(score)
    means = {factor: fmean(values) for factor, values in sorted(scores.items())}
    best = max(means, key=lambda factor: -math.inf if math.isnan(means[factor]) else means[factor])
    validation = {f"{factor:g}": mean for factor, mean in means.items()}
    return {"factor": best, "validation": validation, "runs": deciding(runs)}


def _frozen(block: PlannedBlock) -> dict[str, dict[str, Any]]:
    """The choices in ``weights.json`` that were decided by the runs of this plan."""
    path = block.folder / WEIGHTS
    if not block.tuning_cells or not path.is_file():
        return {}
    chosen = _read(path)
    return {
        entry: chosen[entry]
        for entry, tried in block.tried.items()
        if entry in chosen and chosen[entry].get("runs") == deciding(tried)
    }


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        chosen = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(chosen, dict) or not all(
        isinstance(choice, dict) and isinstance(choice.get("factor"), int | float) for choice in chosen.values()
    ):
        raise ValueError(f"{path}: expected a factor for each entry, as pkdot-compare writes them; delete it.")
    return chosen
