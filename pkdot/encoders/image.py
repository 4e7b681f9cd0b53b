"""The encoder for images."""

from typing import ClassVar

from einops.layers.torch import Rearrange
from torch import Tensor, nn

from pkdot.data.batch import Modality
from pkdot.encoders.base import Encoder
from pkdot.encoders.blocks import ResidualBlock
from pkdot.encoders.standardise import RunningStandardise


class ImageEncoder(Encoder):
    """A small residual 2-D convolutional network; its last feature map is pooled to 3 x 3 tokens, row by row.

    Shapes: ``(B, channels, height, width)`` to ``(B, 9, width)``.

    >>> import torch
    >>> ImageEncoder(Modality("image", (3, 48, 48)), width=64)(torch.rand(2, 3, 48, 48)).shape
    torch.Size([2, 9, 64])
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__(modality, width)
        channels = modality.shape[0]
        self.standardise = RunningStandardise(channels)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            ResidualBlock(16, 32, dims=2),
            ResidualBlock(32, 64, dims=2),
            ResidualBlock(64, 64, dims=2),
            nn.AdaptiveAvgPool2d(3),
            nn.Dropout(0.1),
            nn.Conv2d(64, width, 1),
            Rearrange("batch width row column -> batch (row column) width"),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, 9, width)``."""
        tokens: Tensor = self.layers(self.standardise(x))
        return tokens
