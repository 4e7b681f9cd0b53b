"""The weight of each method: chosen once on validation splits, over the same factors for all, and then frozen."""

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

from pkdot.comparison.plan import Plan, Run
from pkdot.storage import write_text

WEIGHTS = "weights.json"


def to_choose(plan: Plan, data: str, regime: str) -> list[Run]:
    """The runs by which the weights of a block that are not frozen yet are chosen. Raises as frozen_factors."""
    frozen = frozen_factors(plan, data, regime)
    return plan.tuning(data, regime, [entry for entry in plan.tuned(data, regime) if entry not in frozen])


def choose_factors(plan: Plan, data: str, regime: str) -> dict[str, float]:
    """The factor of each tuned entry of a block: read where it has been chosen, chosen where it can be.

    The best mean validation score over the tuning seeds counts, and among equals the smaller factor. A choice is
    written to ``weights.json`` beside the runs and from then on only read.

    Raises:
        ValueError: some of the runs to choose by are not there, or :func:`frozen_factors` raises.
    """
    runs = [run for run in to_choose(plan, data, regime) if run.factor is not None]
    if runs:
        path = plan.place(data, regime) / WEIGHTS
        chosen = _chosen(plan, path)
        for entry in dict.fromkeys(run.entry for run in runs):
            chosen[entry] = _best(entry, [run for run in runs if run.entry == entry])
        write_text(path, json.dumps(chosen, indent=2) + "\n")
    return frozen_factors(plan, data, regime)


def frozen_factors(plan: Plan, data: str, regime: str) -> dict[str, float]:
    """The factors that have been chosen so far.

    Raises:
        ValueError: they were chosen among other factors than the plan has, or their file cannot be read.
    """
    chosen = _chosen(plan, plan.place(data, regime) / WEIGHTS)
    return {entry: chosen[entry]["factor"] for entry in plan.tuned(data, regime) if entry in chosen}


def _best(entry: str, runs: list[Run]) -> dict[str, Any]:
    scores: dict[float, list[float]] = {}
    for run in runs:
        if run.factor is None or not run.done:
            raise ValueError(
                f"{run.folder}: not run yet, and the weight of {entry!r} is chosen by it: --stage tune first."
            )
        score = json.loads((run.folder / "result.json").read_text(encoding="utf-8"))["validation"]["score"]
        scores.setdefault(run.factor, []).append(score)
    means = {factor: fmean(values) for factor, values in sorted(scores.items())}
    best = max(means, key=lambda factor: -math.inf if math.isnan(means[factor]) else means[factor])
    return {"factor": best, "validation": {f"{factor:g}": mean for factor, mean in means.items()}}


def _chosen(plan: Plan, path: Path) -> dict[str, dict[str, Any]]:
    if not plan.config.tune_seeds or not path.is_file():
        return {}
    try:
        chosen: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}).") from error
    factors = {f"{factor:g}" for factor in plan.config.tune}
    for entry, choice in chosen.items():
        if choice["validation"].keys() != factors:
            among = " ".join(choice["validation"])
            raise ValueError(
                f"{path}: the weight of {entry!r} was chosen among the factors {among}; expected --tune {among}, or "
                "another --out for other factors."
            )
    return chosen
