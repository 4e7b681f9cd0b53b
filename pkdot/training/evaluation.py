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

    >>> target, labelled = torch.tensor([0, 1, 1]), torch.tensor([True, True, False])
    >>> logits = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> known = Predictions(("a", "b", "c"), logits, torch.zeros(3, 8), {}, target, labelled)
    >>> known.metrics(Task("classification", ("pain",), ("no", "yes")))["accuracy"]
    0.5

    Attributes:
        ids: of the ``n`` samples.
        prediction: ``(n, C)`` logits or ``(n, R)`` regression outputs.
        embedding: ``(n, d)``.
        streams: ``(n, d_m)`` for each modality that the model encodes.
        target: ``(n,)`` or ``(n, R)``.
        labelled: ``(n,)`` bool; metrics and losses use these samples only.
    """

    ids: tuple[str, ...]
    prediction: Tensor
    embedding: Tensor
    streams: dict[str, Tensor]
    target: Tensor
    labelled: Tensor

    def output(self, rows: list[int] | Tensor, device: torch.device) -> Output:
        """Some rows, as the output of the model, on a device."""
        streams = {name: stream[rows].to(device) for name, stream in self.streams.items()}
        return Output(self.embedding[rows].to(device), self.prediction[rows].to(device), streams)

    def metrics(self, task: Task) -> dict[str, float]:
        """The task's metrics over the labelled samples."""
        return task.metrics(self.prediction[self.labelled], self.target[self.labelled])

    def task_loss(self, task: Task) -> float:
        """The task loss of all labelled samples together.

        If their CCC is undefined, the mean squared error replaces it: 1 - CCC would be 1 for every model.
        """
        if task.loss == "ccc" and unscorable("ccc", self.target[self.labelled]):
            return float(task.sample_losses(self.prediction[self.labelled], self.target[self.labelled]).mean())
        return float(task.task_loss(self.prediction, self.target, self.labelled))


def write_predictions(path: Path, predictions: Predictions, subjects: list[str], schema: Schema) -> None:
    """Write ``predictions.csv``: id, subject, target and decoded prediction, and a probability for each class.

    Args:
        path: of the file.
        predictions: the answers.
        subjects: the subject of each sample.
        schema: of the data set.

    >>> from tempfile import TemporaryDirectory
    >>> schema = Schema("toy", Task("classification", ("pain",), ("no", "yes")), {}, (), ())
    >>> one = torch.ones(1, dtype=torch.bool)
    >>> known = Predictions(("a",), torch.tensor([[0.0, 0.0]]), torch.zeros(1, 8), {}, torch.tensor([1]), one)
    >>> with TemporaryDirectory() as folder:
    ...     write_predictions(Path(folder, "predictions.csv"), known, ["anna"], schema)
    ...     print(Path(folder, "predictions.csv").read_text(), end="")
    id,subject,pain,predicted_pain,p_no,p_yes
    a,anna,yes,no,0.5,0.5
    """
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
    """Write ``result.json``, which marks a run as finished.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_result(Path(folder, "result.json"), {"metrics": {"accuracy": 0.75}})
    """
    write_text(path, json.dumps(result, indent=2) + "\n")
