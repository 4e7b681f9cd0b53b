"""Signals seen as spectrograms."""

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
"""Frequency bands that the last feature map keeps apart."""


class SpectrogramEncoder(Encoder):
    """A residual 2-D convolutional network on the log-power spectrogram of every channel; a token a time step.

    PKDOT (arXiv 2401.15489) does the same with a ResNet-18 on one EMG channel. Its released code takes the power
    without a logarithm, unstandardised, at a wrong sampling rate; here every frequency of every channel is
    standardised, and the network has a hundredth of the weights, for data sets of some hundred windows. Segments
    have their mean taken away, so a slow sensor's level is lost: use the ``signal`` encoder for those.

    Shapes: ``(B, channels, time)`` to ``(B, L, width)``.
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
