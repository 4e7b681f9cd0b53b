"""The default encoder for video, small enough for a CPU."""

from typing import ClassVar

import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from pkdot.data.batch import Modality
from pkdot.encoders.base import Encoder

PATCH = 4
"""Side of the patches that a frame is cut into (pixels)."""

MOTION_GAIN = 4.0
"""Factor on differences from the mean frame: they are smaller than the frames by about this factor."""


class VideoEncoder(Encoder):
    """A small 2-D convolutional network on the patches of every frame, then convolutions over time.

    There is one token for each frame. Each patch has its features and their difference from the clip's mean. The
    difference shows what moves and hides who the person is, which helps with people who are not in the training set.
    Faces should be aligned, because a frame's features keep a 3 x 3 grid of places.

    Shapes: ``(B, channels, time, height, width)`` in [0, 1] to ``(B, time, width)``.

    Raises:
        ValueError: frames are smaller than 4 x 4 pixels.

    Example:
        >>> VideoEncoder(Modality("video", (3, 12, 48, 48)), width=64)(torch.rand(2, 3, 12, 48, 48)).shape
        torch.Size([2, 12, 64])
    """

    kinds: ClassVar[tuple[str, ...]] = ("video",)

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__(modality, width)
        channels, _, *side = modality.shape
        if min(side) < PATCH:
            raise ValueError(f"got video frames of shape {tuple(side)}, expected at least {PATCH} x {PATCH}.")
        self.patches = nn.Conv2d(channels, 16, PATCH, PATCH, bias=False)
        self.frames = nn.Sequential(
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            Rearrange("frames channels row column -> frames (channels row column)"),
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
        batch = len(x)
        frames = rearrange(x - 0.5, "batch channels time height width -> (batch time) channels height width")
        patches = rearrange(self.patches(frames), "(batch time) ... -> batch time ...", batch=batch)
        # The first layer is linear, so the mean may be subtracted after it, where the tensors are smaller.
        motion = MOTION_GAIN * (patches - patches.mean(1, keepdim=True))
        both = torch.cat([patches, motion], 2)
        features = self.frames(rearrange(both, "batch time ... -> (batch time) ..."))
        features = rearrange(features, "(batch time) width -> batch width time", batch=batch)
        tokens: Tensor = features + self.time(features)
        return rearrange(tokens, "batch width time -> batch time width")
