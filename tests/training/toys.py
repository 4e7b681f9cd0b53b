"""A data set in memory and models of a few numbers, to see what training hands from one to the other."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pkdot.data.batch import Modality, Record, Schema
from pkdot.data.loader import Loader
from pkdot.model import Output
from pkdot.tasks import Task

SCHEMA = Schema(
    "toy",
    Task("classification", ("answer",), ("low", "middle", "high")),
    {"weak": Modality("vector", (4,)), "strong": Modality("vector", (3,))},
    ("weak",),
    ("strong",),
)


class InMemory:
    """Samples that follow from their index; every ``lacking``-th lacks its ``strong``, every second ``lacking`` its
    ``weak``.
    """

    def __init__(self, samples: int = 40, *, lacking: int = 0) -> None:
        self.schema, self.lacking = SCHEMA, lacking
        self.records = [Record(f"s{i:03d}", f"p{i // 4:02d}", (float(i % 3),)) for i in range(samples)]

    def read(self, index: int) -> dict[str, Tensor]:
        stream = torch.Generator().manual_seed(index)
        sample = {"weak": torch.randn(4, generator=stream), "strong": torch.randn(3, generator=stream)}
        if self.lacking and index % self.lacking == 1:
            del sample["strong"]
        elif self.lacking and index % (2 * self.lacking) == 2:
            del sample["weak"]
        return sample


class Model(nn.Module):
    """A linear embedding of each modality, their sum where they are there, and a linear head."""

    def __init__(self, *names: str, width: int = 5, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoders = nn.ModuleDict({name: nn.Linear(*SCHEMA.modalities[name].shape, width) for name in names})
        self.absent = nn.Parameter(torch.randn(len(names), width))
        self.head = nn.Linear(width, SCHEMA.task.head_size)

    def forward(self, modalities: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Output:
        streams = {}
        for (name, encoder), absent in zip(self.encoders.items(), self.absent, strict=True):
            streams[name] = encoder(modalities[name])
            if present and name in present:
                streams[name] = torch.where(present[name][:, None], streams[name], absent)
        embedding = torch.stack(list(streams.values())).sum(0).tanh()
        return Output(embedding, self.head(embedding), streams)


def loader_of(dataset: InMemory, labelled: np.ndarray | None = None, **settings: object) -> Loader:
    """All samples, all labelled, four at a time, unless told otherwise."""
    count = len(dataset.records)
    known = np.ones(count, bool) if labelled is None else labelled
    return Loader(dataset, np.arange(count), known, **({"batch_size": 4} | settings))  # type: ignore[arg-type]


@torch.no_grad()
def answer_of(model: nn.Module, dataset: InMemory, name: str, names: tuple[str, ...]) -> Output:
    """What a model says to one sample alone, of which it is told what it lacks."""
    sample = dataset.read([record.id for record in dataset.records].index(name))
    given = {m: sample.get(m, torch.full(SCHEMA.modalities[m].shape, 99.0))[None] for m in names}
    present = {m: torch.tensor([m in sample]) for m in names}
    output: Output = model.eval()(given, present)
    return output
