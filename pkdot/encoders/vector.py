"""The encoder for vectors: measurements without an order."""

from typing import ClassVar

from einops.layers.torch import Rearrange
from torch import Tensor, nn

from pkdot.data.batch import Modality
from pkdot.encoders.base import Encoder
from pkdot.encoders.standardise import RunningStandardise

TOKENS = 4
"""Number of tokens for a vector: with a single token, cross-attention would have nothing to choose from."""


class VectorEncoder(Encoder):
    """A two-layer perceptron on the standardised vector; its output is cut into four tokens.

    Shapes: ``(B, d)`` to ``(B, 4, width)``.

    >>> import torch
    >>> VectorEncoder(Modality("vector", (10,)), width=64)(torch.randn(2, 10)).shape
    torch.Size([2, 4, 64])
    """

    kinds: ClassVar[tuple[str, ...]] = ("vector",)

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__(modality, width)
        (features,) = modality.shape
        self.standardise = RunningStandardise(features)
        self.layers = nn.Sequential(
            nn.Linear(features, 2 * width),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(2 * width, TOKENS * width),
            Rearrange("batch (tokens width) -> batch tokens width", tokens=TOKENS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, 4, width)``."""
        tokens: Tensor = self.layers(self.standardise(x))
        return tokens
