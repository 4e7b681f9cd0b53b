"""Standardising inputs by what has been seen so far."""

import torch
from einops import rearrange
from torch import Tensor, nn


class RunningStandardise(nn.Module):
    """``(x - mean) / deviation`` per channel, both over everything seen in training.

    Training and eval use the same statistics (a batch is merged into them before it is standardised), so a sample's
    value does not hang on its neighbours, and the units of a sensor do not matter: volts or microvolts are the same
    input. A channel that never varied, or whose deviation is at most ``smallest``, keeps its scale. No gradient flows
    into the statistics. Use it on inputs and on fixed targets; between layers, whose statistics move while they
    learn, use a normalisation layer.

    Shapes: ``(B, channels, ...)`` to the same.
    """

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, channels: int, *, smallest: float = 0.0) -> None:
        super().__init__()
        self.smallest = smallest
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("square", torch.zeros(channels))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """The standardised values; in training mode the batch counts first."""
        if self.training and x.numel():
            self._merge(x.detach().float())
        variance = self.square / self.count.clamp(min=1)
        # A constant's deviation is rounding noise, which must not be blown up to 1.
        noise = 1e-6 * self.mean.abs() + torch.finfo(torch.float32).tiny
        constant = variance.sqrt() <= noise.clamp(min=self.smallest)
        deviation = torch.where(constant, torch.ones_like(variance), variance.sqrt())
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return (x - self.mean.view(shape)) / deviation.view(shape)

    @torch.no_grad()
    def _merge(self, x: Tensor) -> None:
        rows = rearrange(x, "batch channels ... -> channels (batch ...)")
        total = self.count + rows.shape[1]
        mean = rows.mean(1)
        apart = mean - self.mean
        self.square += (rows - mean[:, None]).square().sum(1) + apart.square() * (self.count * rows.shape[1] / total)
        self.mean += apart * (rows.shape[1] / total)
        self.count.copy_(total)
