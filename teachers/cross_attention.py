"""The teacher with gated cross-attention: the default."""

from collections.abc import Mapping

from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.encoders.fusion import CrossAttentionFusion
from pkdot.encoders.streams import StreamEncoders
from pkdot.model import Output


class CrossAttentionTeacher(nn.Module):
    """An encoder for every modality, gated cross-attention between their tokens, and a linear head.

    This is the teacher of PKDOT (arXiv 2401.15489), for any number of modalities; a sample may lack some of them.
    :class:`~pkdot.encoders.fusion.CrossAttentionFusion` says how and why it differs from the released code.

    Shapes: modalities ``(B, *shape)`` to embedding ``(B, width)``, prediction ``(B, head_size)``, and one stream
    ``(B, width)`` for each modality.

    Example:
        >>> import torch
        >>> from pkdot.data.batch import Modality
        >>> from pkdot.tasks import Task
        >>> streams = {"x": Modality("vector", (5,)), "y": Modality("signal", (2, 100), 50.0)}
        >>> schema = Schema("toy", Task("classification", ("pain",), ("no", "yes")), streams, ("x",), ("y",))
        >>> teacher = CrossAttentionTeacher(schema, ModelConfig(width=8))
        >>> output = teacher({"x": torch.randn(4, 5), "y": torch.randn(4, 2, 100)})
        >>> output.embedding.shape, output.prediction.shape, list(output.streams)
        (torch.Size([4, 8]), torch.Size([4, 2]), ['x', 'y'])
    """

    def __init__(self, schema: Schema, config: ModelConfig) -> None:
        super().__init__()
        names = tuple(schema.modalities)
        self.streams = StreamEncoders(schema, names, config)
        self.fusion = CrossAttentionFusion(len(names), config.width)
        self.head = nn.Linear(config.width, schema.task.head_size)

    def forward(self, modalities: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Output:
        """Run the teacher. Raises ``ValueError`` if a modality is missing or has the wrong shape."""
        streams = self.streams(modalities, present)
        embedding = self.fusion(tuple(streams.values()))
        return Output(embedding, self.head(embedding), {name: stream.pooled for name, stream in streams.items()})
