"""Standardise inputs by the mean and deviation of all training data seen so far."""

import torch
from einops import rearrange
from torch import Tensor, nn


class RunningStandardise(nn.Module):
    """``(x - mean) / deviation`` for each channel, with the mean and deviation of everything seen in training.

    In training mode, a batch first updates the statistics and is then standardised by them; eval mode uses the same
    statistics. So the units of a sensor do not matter, and in eval mode a sample's result does not depend on the
    others in its batch. A channel that never varied, or whose deviation is at most ``smallest``, is not scaled. No
    gradient flows into the statistics.

    Use it on inputs and on fixed targets. Between layers, whose statistics change while they learn, use a
    normalisation layer.

    Shapes: ``(B, channels, ...)`` to the same.

    >>> standardise = RunningStandardise(1)
    >>> standardise(torch.tensor([[1.0], [3.0]]))
    tensor([[-1.],
            [ 1.]])
    >>> standardise.eval()(torch.tensor([[4.0]]))
    tensor([[2.]])
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
        """The standardised values; in training mode the batch first updates the statistics."""
        if self.training and x.numel():
            self._merge(x.detach().float())
        variance = self.square / self.count.clamp(min=1)
        # The deviation of a constant is rounding noise, which must not be scaled up to 1.
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
