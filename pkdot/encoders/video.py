"""Video for machines without an accelerator."""

from typing import ClassVar

import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from pkdot.data.batch import Modality
from pkdot.encoders.base import Encoder

PATCH = 4
"""Side of the patches into which a frame is cut (pixels)."""

MOTION_GAIN = 4.0
"""Differences from the mean frame are this much smaller than what is on the frames."""


class VideoEncoder(Encoder):
    """A small 2-D convolutional network on every frame's patches, then convolutions over time; one token a frame.

    The features of each patch come with their difference from the clip's mean. The difference shows what moves and
    hides who it is, which is what generalises to people who were not trained on. Faces are expected to be aligned:
    where something is on the frame is kept to a 3 x 3 grid.

    Shapes: ``(B, channels, time, height, width)`` in [0, 1] to ``(B, time, width)``; a frame is at least 4 x 4.
    """

    kinds: ClassVar[tuple[str, ...]] = ("video",)

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__(modality, width)
        channels, _, *side = modality.shape
        if min(side) < PATCH:
            raise ValueError(f"video frames have shape {tuple(side)}; expected at least {PATCH} x {PATCH}.")
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
        # The first layer is linear: the motion of its output is its output for the motion, with fewer points.
        motion = MOTION_GAIN * (patches - patches.mean(1, keepdim=True))
        both = torch.cat([patches, motion], 2)
        features = self.frames(rearrange(both, "batch time ... -> (batch time) ..."))
        features = rearrange(features, "(batch time) width -> batch width time", batch=batch)
        return rearrange(features + self.time(features), "batch width time -> batch time width")
