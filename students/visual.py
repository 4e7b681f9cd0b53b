"""The student that has to do with what is there."""

from collections.abc import Mapping

from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.encoders.fusion import ConcatFusion
from pkdot.encoders.streams import StreamEncoders
from pkdot.model import Output


class VisualStudent(nn.Module):
    """An encoder for every prevalent modality, their pooled embeddings side by side, a perceptron, a linear head.

    The student without a T-Net in PKDOT (arXiv 2401.15489); "visual" because there the one prevalent modality is
    video. In the released code its video network is frozen at random weights; here all of it learns. A privileged
    modality among the inputs is not read.

    Shapes: modalities ``(B, *shape)`` to embedding ``(B, width)``, prediction ``(B, head_size)`` and a stream
    ``(B, width)`` a prevalent modality.
    """

    def __init__(self, schema: Schema, config: ModelConfig) -> None:
        super().__init__()
        self.streams = StreamEncoders(schema, schema.prevalent, config)
        self.fusion = ConcatFusion(len(schema.prevalent), config.width)
        self.head = nn.Linear(config.width, schema.task.head_size)

    def forward(self, modalities: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Output:
        """The student's output. Raises ``ValueError`` for a prevalent modality that is not given or misshapen."""
        streams = self.streams(modalities, present)
        embedding = self.fusion(tuple(streams.values()))
        return Output(embedding, self.head(embedding), {name: stream.pooled for name, stream in streams.items()})
