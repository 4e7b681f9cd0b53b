"""Signals: channels sampled over time."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pkdot.data.batch import Modality
from pkdot.encoders.base import Encoder
from pkdot.encoders.blocks import ResidualBlock
from pkdot.encoders.standardise import RunningStandardise

STEM_SAMPLES = 256
"""About as many samples are left of a long window after the stem."""


class SignalEncoder(Encoder):
    """A residual 1-D convolutional network over time.

    Its input is the standardised window twice: as it is, and with the window's mean taken away. A slow sensor such
    as skin conductance differs between people by far more than it changes within a window, and both matter. The stem's
    stride grows with the window, so that 6 channels x 100 samples and 3 channels x 2816 samples (5.5 s at 512 Hz)
    cost about the same.

    Shapes: ``(B, channels, time)`` to ``(B, L, width)``, L about an eighth of the stem's samples.
    """

    kinds: ClassVar[tuple[str, ...]] = ("signal",)

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__(modality, width)
        channels, time = modality.shape
        stride = max(1, time // STEM_SAMPLES)
        kernel = 2 * stride + 5
        self.standardise = RunningStandardise(channels)
        self.layers = nn.Sequential(
            nn.Conv1d(2 * channels, 32, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            ResidualBlock(32, 32, dims=1, kernel=5),
            ResidualBlock(32, 64, dims=1, kernel=5),
            ResidualBlock(64, 64, dims=1, kernel=5),
            nn.Dropout(0.2),
            nn.Conv1d(64, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, L, width)`` over time."""
        x = self.standardise(x)
        tokens: Tensor = self.layers(torch.cat([x, x - x.mean(-1, keepdim=True)], 1))
        return tokens.transpose(1, 2)
