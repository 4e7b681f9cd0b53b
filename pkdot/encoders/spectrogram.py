"""An encoder for signals that reads their spectrograms."""

from typing import ClassVar

from einops import rearrange
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from pkdot.data.batch import Modality
from pkdot.encoders.base import Encoder
from pkdot.encoders.blocks import ResidualBlock
from pkdot.encoders.features import spectrogram
from pkdot.encoders.standardise import RunningStandardise

BANDS = 4
"""Number of frequency bands in the last feature map."""


class SpectrogramEncoder(Encoder):
    """A residual 2-D convolutional network on the log-power spectrogram of every channel.

    PKDOT (arXiv 2401.15489) uses a ResNet-18 on the spectrogram of one EMG channel. Its released code takes the power
    without a logarithm, without standardising, and with a wrong sampling rate. Here every frequency of every channel
    is standardised, and the network has a hundredth of the weights: data sets have a few hundred samples.

    Use it for fast signals such as EMG. Do not use it for slow sensors: each segment loses its mean, and with it the
    sensor's level; take the ``signal`` encoder instead.

    Shapes: ``(B, channels, time)`` to ``(B, L, width)``.

    >>> import torch
    >>> SpectrogramEncoder(Modality("signal", (3, 2816), 512.0), width=64)(torch.randn(2, 3, 2816)).shape
    torch.Size([2, 11, 64])
    """

    kinds: ClassVar[tuple[str, ...]] = ("signal",)

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__(modality, width)
        channels, time = modality.shape
        self.segment = next((size for size in (128, 64, 32) if time >= 16 * size), 16)
        bins = self.segment // 2 + 1
        self.standardise_signal = RunningStandardise(channels)
        self.standardise_power = RunningStandardise(channels * bins)
        self.layers = nn.Sequential(
            Rearrange("batch (channels bins) time -> batch channels bins time", bins=bins),
            nn.Conv2d(channels, 16, 3, 1, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            ResidualBlock(16, 32, dims=2),
            ResidualBlock(32, 64, dims=2),
            ResidualBlock(64, 64, dims=2),
            nn.AdaptiveAvgPool2d((BANDS, None)),
            Rearrange("batch channels bands time -> batch (channels bands) time"),
            nn.Dropout(0.2),
            nn.Conv1d(64 * BANDS, width, 1),
            Rearrange("batch width time -> batch time width"),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, L, width)`` over time."""
        x = self.standardise_signal(x)
        power = spectrogram(x, segment=self.segment, overlap=self.segment * 3 // 4, bins=self.segment)
        power = rearrange(power, "batch channels bins time -> batch (channels bins) time")
        tokens: Tensor = self.layers(self.standardise_power(power))
        return tokens
