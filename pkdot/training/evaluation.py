"""A model's answers for a split, and the files that hold them and their metrics."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pkdot.data.batch import Schema
from pkdot.metrics import unscorable
from pkdot.model import Output
from pkdot.storage import write_text
from pkdot.tasks import Task


@dataclass(frozen=True)
class Predictions:
    """A model's answers for a split, on the CPU.

    Attributes:
        ids: of the ``n`` samples.
        prediction: ``(n, C)`` or ``(n, R)``, the raw outputs.
        embedding: ``(n, d)``.
        streams: name to ``(n, d_m)``.
        target: ``(n,)`` or ``(n, R)``.
        labelled: ``(n,)`` bool.
    """

    ids: tuple[str, ...]
    prediction: Tensor
    embedding: Tensor
    streams: dict[str, Tensor]
    target: Tensor
    labelled: Tensor

    def output(self, rows: list[int] | Tensor, device: torch.device) -> Output:
        """The answers of some rows, as the model gave them, on a device."""
        streams = {name: stream[rows].to(device) for name, stream in self.streams.items()}
        return Output(self.embedding[rows].to(device), self.prediction[rows].to(device), streams)

    def metrics(self, task: Task) -> dict[str, float]:
        """The task's metrics over the labelled samples."""
        return task.metrics(self.prediction[self.labelled], self.target[self.labelled])

    def task_loss(self, task: Task) -> float:
        """The task loss over the labelled samples of the whole split at once.

        Where these have no CCC, the mean of their squared errors stands for it: 1 - CCC would be 1 for every model.
        """
        if task.loss == "ccc" and unscorable("ccc", self.target[self.labelled]):
            return float(task.sample_losses(self.prediction[self.labelled], self.target[self.labelled]).mean())
        return float(task.task_loss(self.prediction, self.target, self.labelled))


def write_predictions(path: Path, predictions: Predictions, subjects: list[str], schema: Schema) -> None:
    """``predictions.csv``: id, subject, target and decoded prediction, with a probability for each class."""
    task = schema.task
    decoded = task.decode(predictions.prediction)
    classes = list(task.classes)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = task.targets
    header = ["id", "subject", *columns, *(f"predicted_{name}" for name in columns)]
    writer.writerow(header + [f"p_{name}" for name in classes])
    chances = task.probabilities(predictions.prediction).tolist() if classes else [[] for _ in predictions.ids]
    for row, (name, subject) in enumerate(zip(predictions.ids, subjects, strict=True)):
        targets, answers = predictions.target[row].reshape(-1).tolist(), decoded[row].reshape(-1).tolist()
        truth = [classes[int(value)] if classes else f"{value:.6g}" for value in targets]
        if not bool(predictions.labelled[row]):
            truth = [""] * len(columns)
        answer = [classes[int(value)] if classes else f"{value:.6g}" for value in answers]
        writer.writerow([name, subject, *truth, *answer, *(f"{chance:.6g}" for chance in chances[row])])
    write_text(path, text.getvalue())


def write_result(path: Path, result: dict[str, Any]) -> None:
    """``result.json``, the mark of a finished run."""
    write_text(path, json.dumps(result, indent=2) + "\n")
