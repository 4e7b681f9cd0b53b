"""The student that uses the prevalent modalities as they are: the default."""

from collections.abc import Mapping

from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.encoders.fusion import ConcatFusion
from pkdot.encoders.streams import StreamEncoders
from pkdot.model import Output


class VisualStudent(nn.Module):
    """An encoder for every prevalent modality, a perceptron on the concatenated streams, and a linear head.

    This is the student without a T-Net of PKDOT (arXiv 2401.15489), where video is the only prevalent modality: hence
    the name. In the released code its video network is frozen at random weights; here the whole student learns. It
    does not read privileged modalities, even if they are given.

    Shapes: modalities ``(B, *shape)`` to embedding ``(B, width)``, prediction ``(B, head_size)``, and one stream
    ``(B, width)`` for each prevalent modality.

    Example:
        >>> import torch
        >>> from pkdot.data.batch import Modality
        >>> from pkdot.tasks import Task
        >>> streams = {"x": Modality("vector", (5,)), "y": Modality("signal", (2, 100), 50.0)}
        >>> schema = Schema("toy", Task("classification", ("pain",), ("no", "yes")), streams, ("x",), ("y",))
        >>> student = VisualStudent(schema, ModelConfig(width=8))
        >>> output = student({"x": torch.randn(4, 5)})
        >>> output.embedding.shape, output.prediction.shape, list(output.streams)
        (torch.Size([4, 8]), torch.Size([4, 2]), ['x'])
    """

    def __init__(self, schema: Schema, config: ModelConfig) -> None:
        super().__init__()
        self.streams = StreamEncoders(schema, schema.prevalent, config)
        self.fusion = ConcatFusion(len(schema.prevalent), config.width)
        self.head = nn.Linear(config.width, schema.task.head_size)

    def forward(self, modalities: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Output:
        """Run the student. Raises ``ValueError`` if a prevalent modality is missing or has the wrong shape."""
        streams = self.streams(modalities, present)
        embedding = self.fusion(tuple(streams.values()))
        return Output(embedding, self.head(embedding), {name: stream.pooled for name, stream in streams.items()})
