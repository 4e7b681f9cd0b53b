"""The teacher with gated cross-attention."""

from collections.abc import Mapping

from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.encoders.fusion import CrossAttentionFusion
from pkdot.encoders.streams import StreamEncoders
from pkdot.model import Output


class CrossAttentionTeacher(nn.Module):
    """An encoder for every modality, gated cross-attention between their tokens, a linear head.

    The teacher of PKDOT (arXiv 2401.15489) for any number of modalities, each of which a sample may lack.
    :class:`~pkdot.encoders.fusion.CrossAttentionFusion` says where it departs from the released code, and why.

    Shapes: modalities ``(B, *shape)`` to embedding ``(B, width)``, prediction ``(B, head_size)`` and a stream
    ``(B, width)`` a modality.
    """

    def __init__(self, schema: Schema, config: ModelConfig) -> None:
        super().__init__()
        names = tuple(schema.modalities)
        self.streams = StreamEncoders(schema, names, config)
        self.fusion = CrossAttentionFusion(len(names), config.width)
        self.head = nn.Linear(config.width, schema.task.head_size)

    def forward(self, modalities: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Output:
        """The teacher's output. Raises ``ValueError`` for a modality that is not given or misshapen."""
        streams = self.streams(modalities, present)
        embedding = self.fusion(tuple(streams.values()))
        return Output(embedding, self.head(embedding), {name: stream.pooled for name, stream in streams.items()})
