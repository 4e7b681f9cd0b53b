"""Video for machines without an accelerator."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pkdot.data.batch import Modality
from pkdot.encoders.base import Encoder


class VideoEncoder(Encoder):
    """A small 2-D convolutional network on every frame, then convolutions over time; one token a frame.

    Each frame comes with its difference from the clip's mean frame. The difference shows what moves and hides who it
    is, which is what generalises to people who were not trained on. Faces are expected to be aligned: where
    something is on the frame is kept to a 3 x 3 grid.

    Shapes: ``(B, channels, time, height, width)`` in [0, 1] to ``(B, time, width)``.
    """

    kinds: ClassVar[tuple[str, ...]] = ("video",)

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__(modality, width)
        channels = modality.shape[0]
        self.frames = nn.Sequential(
            nn.Conv2d(2 * channels, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(9 * 64, width),
        )
        self.time = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, time, width)``."""
        batch, _, time = x.shape[:3]
        centred = x - x.mean(2, keepdim=True)
        frames = torch.cat([x - 0.5, 4 * centred], 1).transpose(1, 2).flatten(0, 1)
        features = self.frames(frames).view(batch, time, self.width).transpose(1, 2)
        tokens: Tensor = features + self.time(features)
        return tokens.transpose(1, 2)
