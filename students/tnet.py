"""The T-Net, which hallucinates a privileged stream."""

import torch
from torch import Tensor, nn

from pkdot.encoders.standardise import RunningStandardise


class TNet(nn.Module):
    """A perceptron from a student's streams to an estimate of the teacher's stream of one privileged modality.

    PKDOT (arXiv 2401.15489) describes it. The released code creates a new random one at each use and ends it in a
    sigmoid, which cannot match an unbounded stream. This one is trained (:meth:`loss`), and its output is linear.

    Shapes: ``(B, seen)`` to ``(B, width)``.

    Attributes:
        trained: number of batches it has learned from; saved with the weights.

    Example:
        >>> tnet = TNet(seen=16, width=8)
        >>> hallucinated = tnet(torch.randn(4, 16))
        >>> hallucinated.shape, tnet.loss(hallucinated, torch.randn(4, 8)).shape, int(tnet.trained)
        (torch.Size([4, 8]), torch.Size([]), 1)
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
        """The hallucinated stream ``(B, width)``, in the standardised units of :meth:`loss`."""
        stream: Tensor = self.layers(seen)
        return stream

    def loss(self, hallucinated: Tensor, stream: Tensor) -> Tensor:
        """Mean squared error against the teacher's stream, standardised per coordinate over the training data.

        The scale of a teacher's stream has no meaning; without standardising it would decide how much the T-Net
        learns. A T-Net that always answers with the mean stream has a loss of about 1. A zero row of ``stream`` is a
        sample without the modality and is ignored; if all rows are zero, the loss is 0.

        Gradient: with respect to the hallucinated stream only.

        Args:
            hallucinated: ``(B, width)``.
            stream: the teacher's stream ``(B, width)``.

        Raises:
            ValueError: the shapes differ.
        """
        if hallucinated.shape != stream.shape:
            raise ValueError(
                f"hallucinated stream: got shape {tuple(hallucinated.shape)}, expected {tuple(stream.shape)}; "
                "teacher and student need the same width."
            )
        known = stream.detach().ne(0).any(1)
        if not bool(known.any()):
            return hallucinated.sum() * 0
        if self.training and torch.is_grad_enabled():
            self.trained += 1
        target = self.standardise(stream.detach()[known].to(hallucinated.dtype))
        loss: Tensor = (hallucinated[known] - target).square().mean()
        return loss
