"""The T-Net, which hallucinates a privileged stream."""

import torch
from torch import Tensor, nn

from pkdot.encoders.standardise import RunningStandardise


class TNet(nn.Module):
    """A perceptron from what a student sees to what the teacher's encoder of one privileged modality would say.

    PKDOT (arXiv 2401.15489) describes it; the released code builds it anew, at random, wherever it is used, and ends
    it in a sigmoid, so that it could not match an unbounded stream. This one is trained (:meth:`loss`), and its
    output is linear.

    Shapes: ``(B, seen)`` to ``(B, width)``.

    Attributes:
        trained: how many batches it has learned from; saved with the weights.
    """

    trained: Tensor

    def __init__(self, seen: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(seen), nn.Linear(seen, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.standardise = RunningStandardise(width)
        self.register_buffer("trained", torch.zeros((), dtype=torch.int64))

    def forward(self, seen: Tensor) -> Tensor:
        """The hallucinated stream, standardised as in :meth:`loss`."""
        stream: Tensor = self.layers(seen)
        return stream

    def loss(self, hallucinated: Tensor, stream: Tensor) -> Tensor:
        """Mean squared error against the teacher's stream, standardised per coordinate over the training data.

        Without the standardising, the scale of a teacher's stream, which means nothing, would decide how much its
        T-Net learns. About 1 is what answering with the mean stream costs. A row of zeros is a sample without the
        modality and does not count; nothing but such rows gives 0. Gradient: of the hallucinated stream only.

        Raises:
            ValueError: the shapes differ.
        """
        if hallucinated.shape != stream.shape:
            raise ValueError(
                f"the T-Net hallucinates {tuple(hallucinated.shape)} and the teacher's stream is "
                f"{tuple(stream.shape)}; teacher and student need the same width."
            )
        known = stream.detach().ne(0).any(1)
        if not bool(known.any()):
            return hallucinated.sum() * 0
        if self.training and torch.is_grad_enabled():
            self.trained += 1
        target = self.standardise(stream.detach()[known].to(hallucinated.dtype))
        loss: Tensor = (hallucinated[known] - target).square().mean()
        return loss
