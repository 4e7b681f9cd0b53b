"""Check that the main job left a finished teacher and a finished student, each with every file of a run folder.

Usage: python check_runs.py RUNS
"""

import csv
import json
import sys
import tomllib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def check(folder: Path) -> str:
    """Read every file of a finished run; the line that describes it, or an error that names the file."""
    if "command" not in tomllib.loads((folder / "config.toml").read_text(encoding="utf-8")):
        raise ValueError(f"{folder}/config.toml: does not say which command repeats the run.")
    if json.loads((folder / "versions.json").read_text(encoding="utf-8"))["torch"] is None:
        raise ValueError(f"{folder}/versions.json: no version of torch.")
    if not [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]:
        raise ValueError(f"{folder}/metrics.jsonl: empty.")
    if not EventAccumulator(str(folder)).Reload().Tags()["scalars"]:
        raise ValueError(f"{folder}: no TensorBoard scalars.")
    if not (folder / "last.pt").stat().st_size:
        raise ValueError(f"{folder}/last.pt: empty.")
    with safe_open(folder / "best.safetensors", "pt") as tensors:
        if not list(tensors.keys()):
            raise ValueError(f"{folder}/best.safetensors: no tensor.")
    json.loads((folder / "best.json").read_text(encoding="utf-8"))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or len(rows) != result["samples"]:
        raise ValueError(f"{folder}/predictions.csv: {len(rows)} rows; result.json counts {result['samples']}.")
    metric = result["primary_metric"]
    return f"{folder.name}: {result['kind']}, {metric} {result['metrics'][metric]:.4f} on {len(rows)} test samples"


def main(runs: Path) -> None:
    """Check each run; exit 1 with one line where something is missing or wrong."""
    try:
        folders = sorted(path for path in runs.iterdir() if path.is_dir())
        lines = [check(folder) for folder in folders]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    kinds = sorted(json.loads((folder / "result.json").read_text(encoding="utf-8"))["kind"] for folder in folders)
    if kinds != ["student", "teacher"]:
        sys.exit(f"{runs}: expected one teacher and one student, found {kinds}.")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
