"""The main job over seeds: how far the teacher is ahead of the undistilled student, and what distillation closes.

    python -m benchmarks.main_job --seeds 5 --write benchmarks/results/main_job.md -- --method ot --topk 8

Everything after ``--`` goes to ``pkdot-distill``. Each seed trains its own teacher, student and control.
"""

import argparse
import platform
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from pkdot.cli.arguments import parse
from pkdot.comparison.report.inference import resampled_mean
from pkdot.config import StudentRunConfig
from pkdot.training.student import StudentResult, distill


def run_seeds(flags: list[str], seeds: int, out: Path, *, new_splits: bool) -> list[StudentResult]:
    """Train a teacher, a student and a control for each seed, in its own folder so that no teacher is shared."""
    config = parse(StudentRunConfig, flags, command="pkdot-distill", description="")
    results = []
    for seed in range(seeds):
        run = replace(config.run, seed=seed, out=out / f"seed{seed}")
        data = replace(config.data, split_seed=seed) if new_splits else config.data
        results.append(distill(replace(config, data=data, run=run, with_control=True)))
        print(f"seed {seed}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores(results[-1]).items()))
    return results


def scores(result: StudentResult) -> dict[str, float]:
    """The primary metric of the three models."""
    name = result.student.result["primary_metric"]
    assert result.teacher is not None
    assert result.control is not None
    runs = {"teacher": result.teacher, "student": result.student, "control": result.control}
    return {role: run.metrics[name] for role, run in runs.items()}


def report(results: list[StudentResult], flags: list[str], *, new_splits: bool) -> str:
    """A Markdown table of the seeds, and one of the paired differences."""
    rows = [scores(result) for result in results]
    student = results[0].student.result
    words = f"--seeds {len(rows)}{' --new-splits' if new_splits else ''} -- {' '.join(flags)}"
    lines = [
        f"# Teacher, student and control on {student['data']}, over seeds",
        "",
        f"`python -m benchmarks.main_job {words}`",
        "",
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; data {student['data']}, "
        f"{student['samples']} test samples of {student['subjects']} held-out subjects; "
        f"{'another split for each seed' if new_splits else 'the same split for all seeds'}. "
        f"Figures: test {student['primary_metric']}.",
        "",
        "| seed | teacher | student | control |",
        "|---|---|---|---|",
        *(
            f"| {seed} | " + " | ".join(f"{value:.4f}" for value in row.values()) + " |"
            for seed, row in enumerate(rows)
        ),
    ]
    columns = {role: [row[role] for row in rows] for role in rows[0]}
    means = " | ".join(f"{sum(column) / len(column):.4f}" for column in columns.values())
    ratio = sum(result.student.result["samples"] / result.student.result["train_samples"] for result in results)
    lines += [f"| mean | {means} |", "", *differences(columns, ratio / len(results), new_splits=new_splits)]
    return "\n".join(lines) + "\n"


def differences(columns: dict[str, list[float]], ratio: float, *, new_splits: bool) -> list[str]:
    """Paired differences in points, with the standard error that the comparison of methods uses.

    The splits of several seeds overlap. The error is corrected for it, with ``ratio``, test samples / training samples
    (Nadeau and Bengio 2003). Seeds on the same split say nothing about other subjects: there is no standard error then.
    """
    lines = ["| paired difference (points) | mean | standard error (corrected) | p |", "|---|---|---|---|"]
    for left, right in (("teacher", "control"), ("student", "control")):
        points = [100 * (a - b) for a, b in zip(columns[left], columns[right], strict=True)]
        splits = range(len(points)) if new_splits else [0] * len(points)
        found = resampled_mean(points, ratio, list(splits))
        error, p = (f"{found.standard_error:.2f}", f"{found.p:.2g}") if found.splits > 1 else ("none: one split", "")
        lines.append(f"| {left} - {right} | {found.mean:+.2f} | {error} | {p} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--new-splits", action="store_true", help="draw other subjects for each seed")
    parser.add_argument("--write", type=Path)
    parser.add_argument("flags", nargs="*", help="flags of pkdot-distill, behind --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = run_seeds(arguments.flags, arguments.seeds, Path(folder), new_splits=arguments.new_splits)
        told = report(results, arguments.flags, new_splits=arguments.new_splits)
    print(told)
    if arguments.write:
        arguments.write.write_text(told, encoding="utf-8")


if __name__ == "__main__":
    main()
