"""The teacher that concatenates: the baseline for fusion."""

from collections.abc import Mapping

from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.encoders.fusion import STREAM_DROPOUT, ConcatFusion
from pkdot.encoders.streams import StreamEncoders
from pkdot.model import Output


class ConcatTeacher(nn.Module):
    """An encoder for every modality, a perceptron on the concatenated streams, and a linear head.

    It is the baseline for fusion: only the perceptron relates the modalities. A learned embedding replaces a modality
    that a sample lacks. In training, random modalities are dropped too, so that no modality keeps the others from
    being learned.

    Shapes: modalities ``(B, *shape)`` to embedding ``(B, width)``, prediction ``(B, head_size)``, and one stream
    ``(B, width)`` for each modality.

    Example:
        >>> import torch
        >>> from pkdot.data.batch import Modality
        >>> from pkdot.tasks import Task
        >>> streams = {"x": Modality("vector", (5,)), "y": Modality("signal", (2, 100), 50.0)}
        >>> schema = Schema("toy", Task("classification", ("pain",), ("no", "yes")), streams, ("x",), ("y",))
        >>> teacher = ConcatTeacher(schema, ModelConfig(width=8))
        >>> output = teacher({"x": torch.randn(4, 5), "y": torch.randn(4, 2, 100)})
        >>> output.embedding.shape, output.prediction.shape, list(output.streams)
        (torch.Size([4, 8]), torch.Size([4, 2]), ['x', 'y'])
    """

    def __init__(self, schema: Schema, config: ModelConfig) -> None:
        super().__init__()
        names = tuple(schema.modalities)
        self.streams = StreamEncoders(schema, names, config)
        self.fusion = ConcatFusion(len(names), config.width, stream_dropout=STREAM_DROPOUT)
        self.head = nn.Linear(config.width, schema.task.head_size)

    def forward(self, modalities: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Output:
        """Run the teacher. Raises ``ValueError`` if a modality is missing or has the wrong shape."""
        streams = self.streams(modalities, present)
        embedding = self.fusion(tuple(streams.values()))
        return Output(embedding, self.head(embedding), {name: stream.pooled for name, stream in streams.items()})
