"""The model contract: what every teacher and student returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema


@dataclass(frozen=True)
class Output:
    """What ``model(modalities, present=None)`` returns.

    ``modalities`` maps the name of a modality to its batch. ``present`` maps the name of a modality that some
    samples lack to a ``(B,)`` boolean mask; a name that is absent from it is there for every sample. In eval mode a
    sample's output does not depend on its neighbours in the batch. A student reads prevalent modalities only.

    Attributes:
        embedding: ``(B, d)``, the representation just before the head: what is distilled.
        prediction: ``(B, C)`` logits or ``(B, R)`` regression outputs.
        streams: ``(B, d_m)`` for each modality ``m`` that the model encodes, or hallucinates, before the fusion.
    """

    embedding: Tensor
    prediction: Tensor
    streams: dict[str, Tensor] = field(default_factory=dict)


def build(kind: type[nn.Module], schema: Schema, config: ModelConfig) -> nn.Module:
    """A model whose every answer is checked: an :class:`Output` with a row a sample, as wide as declared.

    Its ``forward`` raises ``ValueError`` for anything else: many losses would take it without a word.
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
