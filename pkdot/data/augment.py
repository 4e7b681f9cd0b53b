"""Small changes to a sample that leave its answer as it is: functions of tensors and a generator.

Every number comes from the generator that is passed in, so a sample's augmentation is a function of its seed. No sum
over a tensor is left to torch's threads, whose number would show in the last bit.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pkdot.data.batch import Kind, Schema

SHIFT = 1 / 12
"""Largest shift of an image, as a share of its side."""
LIGHT = 0.2
"""Largest change of brightness (added) and contrast (factor around mid-grey); grey levels are in [0, 1]."""
PIXEL_NOISE = 0.02
"""Standard deviation of the noise on grey levels."""
GAIN = 0.1
"""Largest relative change of the amplitude of a signal or of sound."""
DELAY = 0.05
"""Largest shift in time, as a share of a signal's length."""
NOISE = 0.05
"""Standard deviation of the noise, relative to that of the channel."""


def augment_sample(modalities: Mapping[str, Tensor], schema: Schema, generator: torch.Generator) -> dict[str, Tensor]:
    """Augment each modality of one sample according to its kind; vectors stay as they are.

    Modalities take their numbers in the schema's order. Images and video come as uint8 or float in [0, 1] and leave
    as float32 in [0, 1].
    """
    return {
        name: AUGMENTATIONS[modality.kind](modalities[name], generator)
        for name, modality in schema.modalities.items()
        if name in modalities
    }


def augment_frames(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, shift and light as one for all frames of a clip, and noise: ``(C, H, W)`` or ``(C, T, H, W)``."""
    if _uniform(generator) < 0.0:
        frames = frames.flip(-1)
    frames = to_unit(_shift_image(frames, generator))
    contrast, brightness = 1 + LIGHT * _uniform(generator), LIGHT * _uniform(generator)
    noise = torch.randn(frames.shape, generator=generator)
    return ((frames - 0.5) * contrast + (0.5 + brightness) + PIXEL_NOISE * noise).clamp(0.0, 1.0)


def augment_signal(signal: Tensor, generator: torch.Generator) -> Tensor:
    """Gain per channel, a common shift in time whose gap the edge values fill, noise: ``(channels, time)``."""
    time = signal.shape[-1]
    gain = 1 + GAIN * (2 * torch.rand((signal.shape[0], 1), generator=generator) - 1)
    shift = round(DELAY * time * _uniform(generator))
    source = (torch.arange(time) - shift).clamp(0, time - 1)
    return _with_noise(signal[:, source] * gain, generator)


def augment_audio(waveform: Tensor, generator: torch.Generator) -> Tensor:
    """Gain and noise: ``(time,)``. Sound stays where it is, in step with the video."""
    return _with_noise(waveform * (1 + GAIN * _uniform(generator)), generator)


def to_unit(frames: Tensor) -> Tensor:
    """Grey levels as float32 in [0, 1]; uint8 is divided by 255."""
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()


def _shift_image(frames: Tensor, generator: torch.Generator) -> Tensor:
    height, width = frames.shape[-2:]
    down = round(SHIFT * height * _uniform(generator))
    right = round(SHIFT * width * _uniform(generator))
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return frames[..., rows, :][..., columns]


def _with_noise(signal: Tensor, generator: torch.Generator) -> Tensor:
    spread = torch.from_numpy(signal.numpy().std(axis=-1, keepdims=True))
    return signal + NOISE * spread * torch.randn(signal.shape, generator=generator)


def _uniform(generator: torch.Generator) -> float:
    """A number in [-1, 1)."""
    return 2 * float(torch.rand((), generator=generator)) - 1


def _keep(vector: Tensor, generator: torch.Generator) -> Tensor:
    return vector


AUGMENTATIONS: dict[Kind, Callable[[Tensor, torch.Generator], Tensor]] = {
    "vector": _keep,
    "signal": augment_signal,
    "audio": augment_audio,
    "image": augment_frames,
    "video": augment_frames,
}
