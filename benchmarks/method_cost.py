"""What each distillation loss costs: time of a step and peak memory, at B = 128 and d = 512.

    python -m benchmarks.method_cost --write benchmarks/results/method_cost.md

A step is forward and backward of the loss alone, from embeddings (or five-class logits, or two regression outputs) that
share half of their structure. Times are medians over interleaved rounds. Memory is what the first step of this size
adds to a new process after a step on a small batch.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.sinkhorn.memory import growth
from pkdot.config import DistillConfig
from pkdot.losses import LOSSES
from pkdot.losses.base import declared_by
from pkdot.tasks import Task
from pkdot.training.distillation import build_criteria

ROOT = Path(__file__).resolve().parents[1]
BATCH, WIDTH, SAMPLES = 128, 512, 4096
CLASSES = Task("classification", ("kind",), tuple("abcde"))
VALUES = Task("regression", ("valence", "arousal"))


def task_of(method: str) -> Task:
    """A task that the method fits."""
    return VALUES if declared_by(LOSSES[method]).task == "regression" else CLASSES


def step_of(method: str, batch: int, settings: tuple[str, ...] = ()) -> Callable[[], None]:
    """One forward and backward pass of a method, on its own data."""
    torch.manual_seed(0)
    task = task_of(method)
    distill = DistillConfig(method=method, settings=settings)
    criterion = build_criteria(distill, task, student_width=WIDTH, teacher_width=WIDTH, samples=SAMPLES)[method]
    teacher, own = torch.randn(2, batch, WIDTH)
    student = (teacher + own).requires_grad_()
    predictions = torch.randn(2, batch, task.head_size)
    predictions[1].add_(predictions[0])
    answer = predictions[1].clone().requires_grad_()
    target = torch.randn(batch, 2) if task is VALUES else torch.randint(5, (batch,))
    told: dict[str, Tensor] = {
        "target": target,
        "labelled": torch.ones(batch, dtype=torch.bool),
        "index": torch.randperm(SAMPLES)[:batch],
        "teacher_prediction": predictions[0],
        "teachers": torch.randn(3, batch, WIDTH),
        "errors": torch.rand(3, batch),
    }
    declared = declared_by(criterion)
    context = {name: told[name] for name in declared.needs}
    on_predictions = declared.inputs == "prediction"
    inputs = (answer, predictions[0]) if on_predictions else (student, teacher)

    def step() -> None:
        criterion.zero_grad()
        inputs[0].grad = None
        criterion(*inputs, **context).backward()

    return step


def milliseconds(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median times: one step of each method in turn, after a round that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if round_number:
                taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(times) for name, times in taken.items()}


def mebibytes(method: str, settings: tuple[str, ...]) -> float:
    """Peak memory of a step, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.method_cost", "--memory-of", json.dumps([method, settings])]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(child.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", type=Path, metavar="MD")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        method, settings = json.loads(arguments.memory_of)
        step_of(method, 8, tuple(settings))()
        print(growth(step_of(method, BATCH, tuple(settings)), "cpu"))
        return 0
    variants = {name: (name, ()) for name in LOSSES if name != "none"}
    variants["ot, anchors"] = ("ot", ("transport=anchors", "select=shared"))
    times = milliseconds({name: step_of(m, BATCH, s) for name, (m, s) in variants.items()}, arguments.rounds)
    memory = {name: mebibytes(*variant) for name, variant in variants.items()}
    lines = [
        "# What a method costs",
        "",
        "`python -m benchmarks.method_cost --write benchmarks/results/method_cost.md`",
        "",
        f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}; B = {BATCH}, d = {WIDTH}; "
        f"medians of {arguments.rounds} interleaved rounds. Forward and backward of the loss alone.",
        "",
        "| method | ms a step | peak MiB |",
        "|---|---|---|",
        *(f"| {name} | {times[name]:.2f} | {memory[name]:.1f} |" for name in sorted(times, key=lambda n: times[n])),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
