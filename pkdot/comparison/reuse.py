"""How many earlier runs are reused, and why the others are not."""

from collections.abc import Iterable
from pathlib import Path

from pkdot.comparison.run import Run, distinct
from pkdot.training.fingerprint import read_fingerprint
from pkdot.training.run_folder import RunFolder

MOST_DIFFERENCES = 6


def reused(runs: Iterable[Run]) -> str:
    """One line: how many runs are reused, how many are new, and in what earlier runs differ.

    A run is reused if it was made with the settings and the data that it would be made with now.
    """
    wanted = distinct(runs)
    new = [run for run in wanted if not run.done]
    told = f"{len(wanted) - len(new)} of {len(wanted)} runs are reused, {len(new)} are new"
    differing = list(dict.fromkeys(phrase for run in new for phrase in _differences(run)))
    if not differing:
        return f"{told}."
    more = len(differing) - MOST_DIFFERENCES
    rest = f" and {more} more" if more > 0 else ""
    return f"{told}: earlier ones have {', '.join(differing[:MOST_DIFFERENCES])}{rest}."


def _differences(run: Run) -> list[str]:
    """How the finished run of the same entry that is most like this one differs from it."""
    if RunFolder(run.place).result.exists():
        return ["no fingerprint, since an older version made them"]
    found = [_difference(run, result.parent) for result in sorted(run.place.glob("*/result.json"))]
    return min(found, key=len, default=[])


def _difference(run: Run, folder: Path) -> list[str]:
    try:
        earlier = read_fingerprint(RunFolder(folder).fingerprint)
    except ValueError:
        return ["a damaged fingerprint"]
    return earlier.differences(run.fingerprint) or ["a damaged result"]
