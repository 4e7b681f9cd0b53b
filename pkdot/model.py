"""The model contract: what every teacher and student returns."""

from dataclasses import dataclass, field

from torch import Tensor


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
