"""Augmentation: small random changes to a sample that do not change its target.

All random numbers come from the generator that is passed in, so a sample's augmentation depends on its seed only. Numpy
computes all sums: torch splits a sum among its threads, and the number of threads would change the last bit.
"""

from collections.abc import Callable, Mapping, Sequence

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
"""Standard deviation of the noise on a signal, relative to that of its channel."""
VECTOR_NOISE = 0.25
"""Standard deviation of the noise on a number of a vector, relative to that of the same number in the batch."""


def augment_sample(modalities: Mapping[str, Tensor], schema: Schema, generator: torch.Generator) -> dict[str, Tensor]:
    """Augment each modality of one sample by its kind, except vectors: :func:`augment_vectors` needs a whole batch.

    Args:
        modalities: the sample. Images and videos are uint8 or float in [0, 1].
        schema: the kinds; modalities draw random numbers in its order.
        generator: the only source of randomness.

    Returns:
        The augmented modalities in the same shapes; images and videos as float32 in [0, 1].

    Example:
        >>> from types import SimpleNamespace
        >>> from pkdot.data.batch import Modality
        >>> schema = SimpleNamespace(modalities={"physio": Modality("signal", (1, 3)), "age": Modality("vector", (1,))})
        >>> sample = {"physio": torch.tensor([[1.0, 2.0, 3.0]]), "age": torch.tensor([40.0])}
        >>> augmented = augment_sample(sample, schema, torch.Generator().manual_seed(0))
        >>> torch.equal(augmented["physio"], sample["physio"]), torch.equal(augmented["age"], sample["age"])
        (False, True)
    """
    return {
        name: AUGMENTATIONS[modality.kind](modalities[name], generator)
        for name, modality in schema.modalities.items()
        if name in modalities
    }


def augment_frames(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, shift and brighten or darken all frames of a picture or clip alike, and add noise to each pixel.

    Shapes: ``(C, H, W)`` or ``(C, T, H, W)``, uint8 or float in [0, 1], to float32 in [0, 1] of the same shape.

    >>> clip = torch.zeros(3, 4, 8, 8, dtype=torch.uint8)
    >>> augment_frames(clip, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 4, 8, 8])
    """
    if _uniform(generator) < 0.0:
        frames = frames.flip(-1)
    frames = to_unit(_shift_image(frames, generator))
    contrast, brightness = 1 + LIGHT * _uniform(generator), LIGHT * _uniform(generator)
    noise = torch.randn(frames.shape, generator=generator)
    return ((frames - 0.5) * contrast + (0.5 + brightness) + PIXEL_NOISE * noise).clamp(0.0, 1.0)


def augment_signal(signal: Tensor, generator: torch.Generator) -> Tensor:
    """Scale each channel, shift all channels in time by the same step, add noise: ``(channels, time)``.

    The gap that the shift leaves is filled with the value at the edge.

    >>> augment_signal(torch.ones(2, 40), torch.Generator().manual_seed(0))[:, 0]
    tensor([0.9993, 1.0536])
    """
    time = signal.shape[-1]
    gain = 1 + GAIN * (2 * torch.rand((signal.shape[0], 1), generator=generator) - 1)
    shift = round(DELAY * time * _uniform(generator))
    source = (torch.arange(time) - shift).clamp(0, time - 1)
    return _with_noise(signal[:, source] * gain, generator)


def augment_audio(waveform: Tensor, generator: torch.Generator) -> Tensor:
    """Scale a sound and add noise: ``(time,)``. It is not shifted in time, so that it stays in step with a video.

    >>> augment_audio(torch.tensor([1.0, 2.0, 3.0]), torch.Generator().manual_seed(0))
    tensor([1.0077, 2.0095, 3.0202])
    """
    return _with_noise(waveform * (1 + GAIN * _uniform(generator)), generator)


def augment_vectors(vectors: Tensor, present: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Add noise to the vectors of a batch, so that a small data set is not learnt by heart.

    The numbers of a vector have units of their own. Their spread in the batch is the scale of the noise.

    Args:
        vectors: ``(B, d)``.
        present: ``(B,)`` bool. Missing vectors stay as they are and do not count in the spread.
        generators: one for each sample.

    Returns:
        ``(B, d)``; unchanged where all present vectors are equal.

    >>> vectors = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    >>> augment_vectors(vectors, torch.tensor([True, True]), [torch.Generator().manual_seed(seed) for seed in (0, 1)])
    tensor([[1.3852, 5.0000],
            [3.1653, 5.0000]])
    """
    if not bool(present.any()):
        return vectors
    spread = torch.from_numpy(vectors[present].numpy().std(axis=0))
    noise = torch.stack([torch.randn(vectors.shape[1:], generator=generator) for generator in generators])
    return torch.where(present[:, None], vectors + VECTOR_NOISE * spread * noise, vectors)


def to_unit(frames: Tensor) -> Tensor:
    """Convert grey levels to float32 in [0, 1]: uint8 is divided by 255, floats are kept.

    >>> to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
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
