"""The student that hallucinates the streams of the privileged modalities."""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.encoders.fusion import ConcatFusion
from pkdot.encoders.streams import Stream, StreamEncoders
from pkdot.model import Output
from pkdot.students.tnet import TNet


class HallucinatingStudent(nn.Module):
    """The visual student with a T-Net for every privileged modality; the fusion reads real and hallucinated streams.

    This is the student of PKDOT (arXiv 2401.15489). A T-Net learns from the teacher's stream only
    (:meth:`hallucination_loss`): its input is detached from the encoders, and the fusion reads a detached copy of its
    output. So the weight of the other losses does not change what a T-Net learns, and its output stays an estimate of
    the privileged stream. The released code never trains the T-Net; here the student refuses to predict until it is
    trained.

    Use it to measure what a hallucinated stream adds. The default is :class:`~pkdot.students.visual.VisualStudent`: a
    T-Net adds no information, and in a student that learns end to end, distillation trains the encoders anyway.

    Shapes: modalities ``(B, *shape)`` to embedding ``(B, width)``, prediction ``(B, head_size)``, and one stream
    ``(B, width)`` for each modality. The streams of privileged modalities are hallucinated, and standardised per
    coordinate.

    Raises:
        ValueError: the schema has no privileged modality.

    Example:
        >>> from pkdot.data.batch import Modality
        >>> from pkdot.tasks import Task
        >>> streams = {"x": Modality("vector", (5,)), "y": Modality("signal", (2, 100), 50.0)}
        >>> schema = Schema("toy", Task("classification", ("pain",), ("no", "yes")), streams, ("x",), ("y",))
        >>> student = HallucinatingStudent(schema, ModelConfig(width=8))
        >>> output = student({"x": torch.randn(4, 5)})
        >>> output.embedding.shape, output.prediction.shape, list(output.streams)
        (torch.Size([4, 8]), torch.Size([4, 2]), ['x', 'y'])
    """

    def __init__(self, schema: Schema, config: ModelConfig) -> None:
        super().__init__()
        if not schema.privileged:
            raise ValueError(f"{schema.name}: expected a privileged modality, got none; use the visual student.")
        prevalent, privileged, width = len(schema.prevalent), len(schema.privileged), config.width
        self.privileged = schema.privileged
        self.streams = StreamEncoders(schema, schema.prevalent, config)
        self.tnets = nn.ModuleList(TNet(prevalent * width, width) for _ in schema.privileged)
        self.fusion = ConcatFusion(prevalent + privileged, width)
        self.head = nn.Linear(width, schema.task.head_size)

    def forward(self, modalities: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Output:
        """Run the student.

        Raises:
            RuntimeError: in eval mode, if a T-Net was never trained.
            ValueError: a prevalent modality is missing or has the wrong shape.
        """
        self._refuse_untrained()
        streams = self.streams(modalities, present)
        seen = torch.cat([stream.pooled for stream in streams.values()], 1).detach()
        imagined = {name: tnet(seen) for name, tnet in self._named_tnets()}
        everywhere = torch.ones(len(seen), dtype=torch.bool, device=seen.device)
        parts = [
            Stream(rearrange(stream, "batch width -> batch 1 width"), stream, everywhere)
            for stream in (stream.detach() for stream in imagined.values())
        ]
        embedding = self.fusion([*streams.values(), *parts])
        pooled = {name: stream.pooled for name, stream in streams.items()}
        return Output(embedding, self.head(embedding), {**pooled, **imagined})

    def hallucination_loss(self, output: Output, teacher_streams: Mapping[str, Tensor]) -> Tensor:
        """The mean of :meth:`TNet.loss` over the privileged modalities. It trains the T-Nets and nothing else.

        Args:
            output: of this student, for the same samples.
            teacher_streams: ``(B, width)`` for every privileged modality; the row is zero if a sample lacks it.

        Raises:
            ValueError: a privileged stream is missing, or has another width.
        """
        losses = []
        for name, tnet in self._named_tnets():
            if name not in teacher_streams:
                raise ValueError(f"expected a teacher's stream {name!r}, got {', '.join(teacher_streams) or 'none'}.")
            losses.append(tnet.loss(output.streams[name], teacher_streams[name]))
        return torch.stack(losses).mean()

    def _named_tnets(self) -> Iterator[tuple[str, TNet]]:
        for name, tnet in zip(self.privileged, self.tnets, strict=True):
            yield name, cast(TNet, tnet)

    def _refuse_untrained(self) -> None:
        if self.training:
            return
        for name, tnet in self._named_tnets():
            if not int(tnet.trained):
                raise RuntimeError(
                    f"the T-Net that hallucinates {name!r} was never trained: its output would be noise. "
                    "Train the student with hallucination_loss, or load a trained one."
                )
