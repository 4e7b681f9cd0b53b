"""The encoder for sound."""

from typing import ClassVar

from einops.layers.torch import Rearrange
from torch import Tensor, nn

from pkdot.data.batch import Modality
from pkdot.encoders.base import Encoder
from pkdot.encoders.blocks import ResidualBlock
from pkdot.encoders.features import HOP_S, WINDOW_S, log_mel, samples_per_window
from pkdot.encoders.standardise import RunningStandardise

MELS = 64
BANDS = 4
"""Number of frequency bands in the last feature map."""


class AudioEncoder(Encoder):
    """A residual 2-D convolutional network on the log-mel spectrogram, with one token for every 0.16 s.

    Each mel band is standardised over the training data, not within a sample: loudness is information, for example
    about arousal.

    Shapes: waveforms ``(B, time)`` to ``(B, L, width)``.

    Raises:
        ValueError: the modality has no sampling rate, or one so low that a window of the spectrogram has no sample.

    Example:
        >>> import torch
        >>> AudioEncoder(Modality("audio", (16_000,), 16_000.0), width=64)(torch.randn(2, 16_000)).shape
        torch.Size([2, 7, 64])
    """

    kinds: ClassVar[tuple[str, ...]] = ("audio",)

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__(modality, width)
        if modality.rate_hz is None:
            raise ValueError("an audio modality needs rate_hz, its samples per second.")
        self.rate_hz = modality.rate_hz
        # Refuse a rate that leaves no sample in a window now, not at the first batch.
        for seconds in (WINDOW_S, HOP_S):
            samples_per_window(self.rate_hz, seconds)
        self.standardise = RunningStandardise(MELS)
        self.layers = nn.Sequential(
            Rearrange("batch mels time -> batch 1 mels time"),
            nn.Conv2d(1, 16, 3, 2, 1, bias=False),
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
        tokens: Tensor = self.layers(self.standardise(log_mel(x, self.rate_hz, mels=MELS)))
        return tokens
