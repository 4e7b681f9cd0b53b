"""The model contract: what every teacher and student returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema


@dataclass(frozen=True)
class Output:
    """What ``model(modalities, present=None)`` returns.

    ``modalities`` maps the name of a modality to its batch. ``present`` maps the name of a modality to a ``(B,)``
    boolean mask, False where a sample lacks it; a modality without a mask is there for all samples. In eval mode a
    sample's output does not depend on the other samples of its batch. A student reads prevalent modalities only.

    >>> import torch
    >>> output = Output(embedding=torch.zeros(4, 8), prediction=torch.zeros(4, 2))
    >>> output.embedding.shape, output.streams
    (torch.Size([4, 8]), {})

    Attributes:
        embedding: ``(B, d)``, the representation just before the prediction head: what is distilled.
        prediction: ``(B, C)`` logits or ``(B, R)`` regression outputs.
        streams: ``(B, d_m)`` for each modality ``m`` that the model encodes or hallucinates, before the fusion.
    """

    embedding: Tensor
    prediction: Tensor
    streams: dict[str, Tensor] = field(default_factory=dict)


def build(kind: type[nn.Module], schema: Schema, config: ModelConfig) -> nn.Module:
    """A model that checks its own answers: each must be an :class:`Output` with one row per sample.

    Many losses would accept a wrong shape without an error.

    Args:
        kind: the class of the model.
        schema: of the data.
        config: the model's settings; ``config.width`` is the width of its embedding.

    Returns:
        The model. Its ``forward`` raises ``ValueError`` for an answer of another type or shape.

    >>> import torch
    >>> from pkdot.data.batch import Modality
    >>> from pkdot.students import STUDENTS
    >>> from pkdot.tasks import Task
    >>> task = Task("classification", ("pain",), ("no", "yes"))
    >>> schema = Schema("toy", task, {"pulse": Modality("vector", (4,))}, ("pulse",), ())
    >>> student = build(STUDENTS["visual"], schema, ModelConfig(width=8))
    >>> student({"pulse": torch.zeros(3, 4)}).prediction.shape
    torch.Size([3, 2])
    """
    expected = {"embedding": config.width, "prediction": schema.task.head_size}

    def check(module: nn.Module, inputs: tuple[Mapping[str, Tensor], ...], output: object) -> None:
        name = type(module).__name__
        if not isinstance(output, Output):
            raise ValueError(f"{name} returned a {type(output).__name__}; expected Output(embedding, prediction).")
        samples = len(next(iter(inputs[0].values())))
        for part, columns in expected.items():
            shape = tuple(getattr(output, part).shape)
            if shape != (samples, columns):
                raise ValueError(f"{name} returned {part} of shape {shape}; expected {(samples, columns)}.")

    model = kind(schema, config)
    model.register_forward_hook(check)
    return model
