"""The encoder for signals: channels sampled over time."""

from typing import ClassVar

import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from pkdot.data.batch import Modality
from pkdot.encoders.base import Encoder
from pkdot.encoders.blocks import ResidualBlock
from pkdot.encoders.standardise import RunningStandardise

DROPOUT = 0.4
STEM_SAMPLES = 256
"""Approximate number of time steps of a long signal after the stem."""


class SignalEncoder(Encoder):
    """A narrow residual 1-D convolutional network over time, with dropout before every block.

    It reads each channel twice: as it is, and minus its mean over the sample, both standardised. The level of a slow
    sensor such as skin conductance differs far more between people than it changes within a sample, and both matter.
    A wider or less regularised network memorises the people of a small training set. The stride of the stem grows with
    the sample's length: 6 channels x 100 steps and 3 channels x 2816 steps (5.5 s at 512 Hz) take about the same time.

    Shapes: ``(B, channels, time)`` to ``(B, L, width)``; L is about an eighth of the steps after the stem.

    >>> SignalEncoder(Modality("signal", (3, 2816), 512.0), width=64)(torch.randn(2, 3, 2816)).shape
    torch.Size([2, 32, 64])
    """

    kinds: ClassVar[tuple[str, ...]] = ("signal",)

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__(modality, width)
        channels, time = modality.shape
        stride = max(1, time // STEM_SAMPLES)
        kernel = 2 * stride + 5
        self.level = RunningStandardise(channels)
        self.change = RunningStandardise(channels, smallest=1e-4)
        self.layers = nn.Sequential(
            nn.Conv1d(2 * channels, 16, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            ResidualBlock(16, 16, dims=1, kernel=5),
            nn.Dropout(DROPOUT),
            ResidualBlock(16, 32, dims=1, kernel=5),
            nn.Dropout(DROPOUT),
            ResidualBlock(32, 32, dims=1, kernel=5),
            nn.Dropout(DROPOUT),
            nn.Conv1d(32, width, 1),
            Rearrange("batch width time -> batch time width"),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, L, width)`` over time."""
        level = self.level(x)
        change = self.change(level - level.mean(-1, keepdim=True))
        tokens: Tensor = self.layers(torch.cat([level, change], 1))
        return tokens
