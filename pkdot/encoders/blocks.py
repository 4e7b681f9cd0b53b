"""The residual block of the convolutional encoders."""

from typing import Literal

import torch
from torch import Tensor, nn

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
NORMALISATIONS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut (He et al., 2016, arXiv 1512.03385); every axis after the channels is halved.

    Shapes: ``(B, inputs, ...)`` to ``(B, outputs, ...)``, with ``dims`` axes of size ``n`` that become ``ceil(n/2)``.

    >>> ResidualBlock(16, 32, dims=1, kernel=5)(torch.randn(2, 16, 25)).shape
    torch.Size([2, 32, 13])
    """

    def __init__(self, inputs: int, outputs: int, *, dims: Literal[1, 2], kernel: int = 3) -> None:
        super().__init__()
        convolution, normalisation = CONVOLUTIONS[dims], NORMALISATIONS[dims]
        self.body = nn.Sequential(
            convolution(inputs, outputs, kernel, 2, kernel // 2, bias=False),
            normalisation(outputs),
            nn.ReLU(),
            convolution(outputs, outputs, kernel, 1, kernel // 2, bias=False),
            normalisation(outputs),
        )
        self.shortcut = nn.Sequential(convolution(inputs, outputs, 1, 2, bias=False), normalisation(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """The output, with half the length along every axis after the channels."""
        return torch.relu(self.body(x) + self.shortcut(x))
