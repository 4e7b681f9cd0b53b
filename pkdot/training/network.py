"""A model with what it needs to answer: the modalities that it reads, and the device on which it computes."""

from dataclasses import dataclass

import torch
from torch import nn

from pkdot.data.batch import Batch
from pkdot.data.loader import Loader
from pkdot.model import Output
from pkdot.training.evaluation import Predictions


@dataclass(frozen=True)
class Network:
    """A model, the modalities that it reads, and the device that it is on.

    >>> from pkdot.config import ModelConfig
    >>> from pkdot.data.batch import Modality, Schema
    >>> from pkdot.students import STUDENTS
    >>> from pkdot.tasks import Task
    >>> task = Task("classification", ("answer",), ("low", "high"))
    >>> schema = Schema("toy", task, {"pulse": Modality("vector", (4,))}, ("pulse",), ())
    >>> network = Network(STUDENTS["visual"](schema, ModelConfig(width=8)), ("pulse",), torch.device("cpu"))
    >>> there = torch.ones(3, dtype=torch.bool)
    >>> batch = Batch(("a", "b", "c"), {"pulse": torch.zeros(3, 4)}, {"pulse": there}, torch.zeros(3), there)
    >>> network.run(batch).prediction.shape
    torch.Size([3, 2])
    """

    model: nn.Module
    names: tuple[str, ...]
    device: torch.device

    def run(self, batch: Batch) -> Output:
        """One forward pass. The model gets a mask only for a modality that some samples of the batch lack."""
        missing = {name: mask.to(self.device) for name, mask in batch.missing().items() if name in self.names}
        modalities = {name: batch.modalities[name].to(self.device, non_blocking=True) for name in self.names}
        output: Output = self.model(modalities, missing) if missing else self.model(modalities)
        return output

    @torch.no_grad()
    def predict(self, loader: Loader) -> Predictions:
        """The answers for every sample of a loader, in its order: in eval mode, without gradients, on the CPU."""
        was_training = self.model.training
        self.model.eval()
        outputs: list[Output] = []
        batches: list[Batch] = []
        for batch in loader.epoch(0):
            outputs.append(self.run(batch))
            batches.append(batch)
        self.model.train(was_training)
        return Predictions(
            ids=tuple(name for batch in batches for name in batch.ids),
            prediction=torch.cat([output.prediction.float().cpu() for output in outputs]),
            embedding=torch.cat([output.embedding.float().cpu() for output in outputs]),
            streams={
                name: torch.cat([output.streams[name].float().cpu() for output in outputs])
                for name in outputs[0].streams
            },
            target=torch.cat([batch.target for batch in batches]),
            labelled=torch.cat([batch.labelled for batch in batches]),
        )
