"""The plain teacher."""

from collections.abc import Mapping

from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.encoders.fusion import STREAM_DROPOUT, ConcatFusion
from pkdot.encoders.streams import StreamEncoders
from pkdot.model import Output


class ConcatTeacher(nn.Module):
    """An encoder for every modality, their pooled embeddings side by side, a perceptron, a linear head.

    The baseline for fusion: nothing but the perceptron relates the modalities. A learned embedding stands in for a
    modality that a sample lacks, and in training for one that is dropped at random, so that no modality keeps the
    others from being learned.

    Shapes: modalities ``(B, *shape)`` to embedding ``(B, width)``, prediction ``(B, head_size)`` and a stream
    ``(B, width)`` a modality.
    """

    def __init__(self, schema: Schema, config: ModelConfig) -> None:
        super().__init__()
        names = tuple(schema.modalities)
        self.streams = StreamEncoders(schema, names, config)
        self.fusion = ConcatFusion(len(names), config.width, stream_dropout=STREAM_DROPOUT)
        self.head = nn.Linear(config.width, schema.task.head_size)

    def forward(self, modalities: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Output:
        """The teacher's output. Raises ``ValueError`` for a modality that is not given or misshapen."""
        streams = self.streams(modalities, present)
        embedding = self.fusion(tuple(streams.values()))
        return Output(embedding, self.head(embedding), {name: stream.pooled for name, stream in streams.items()})
