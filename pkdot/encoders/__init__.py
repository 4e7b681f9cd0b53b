"""Encoders, from a batch of samples to a batch of tokens: at least one for each kind of modality, each in its file.

``streams`` encodes several modalities side by side; ``fusion`` turns their streams into one embedding. ``standardise``,
``blocks`` and ``features`` are what encoders are made of.
"""

from pkdot.config import ModelConfig
from pkdot.data.batch import Modality
from pkdot.encoders.audio import AudioEncoder
from pkdot.encoders.base import Encoder
from pkdot.encoders.image import ImageEncoder
from pkdot.encoders.r3d import R3D18, R2Plus1D18
from pkdot.encoders.signal import SignalEncoder
from pkdot.encoders.spectrogram import SpectrogramEncoder
from pkdot.encoders.vector import VectorEncoder
from pkdot.encoders.video import VideoEncoder

__all__ = ["ENCODERS", "Encoder", "build_encoder", "encoder_for"]

ENCODERS: dict[str, type[Encoder]] = {
    "vector": VectorEncoder,
    "signal": SignalEncoder,
    "spectrogram": SpectrogramEncoder,
    "audio": AudioEncoder,
    "image": ImageEncoder,
    "video": VideoEncoder,
    "r3d-18": R3D18,
    "r2plus1d-18": R2Plus1D18,
}


def build_encoder(name: str, modality: Modality, width: int) -> Encoder:
    """Build an encoder by name.

    Args:
        name: a key of :data:`ENCODERS`.
        modality: what it will read.
        width: of its tokens.

    Raises:
        ValueError: there is no such encoder, or it does not read this kind of modality.

    Example:
        >>> import torch
        >>> encoder = build_encoder("signal", Modality("signal", (3, 2816), 512.0), width=64)
        >>> encoder(torch.randn(2, 3, 2816)).shape
        torch.Size([2, 32, 64])
    """
    if name not in ENCODERS:
        raise ValueError(f"got encoder {name!r}, expected one of {', '.join(ENCODERS)}.")
    return ENCODERS[name](modality, width)


def encoder_for(modality: Modality, config: ModelConfig) -> Encoder:
    """Build the encoder that the config names for the modality's kind.

    ``config.weights`` is loaded into the encoder of a video.

    Raises:
        ValueError: the weights do not fit, or the video encoder takes no weights.

    Example:
        >>> type(encoder_for(Modality("signal", (3, 2816), 512.0), ModelConfig(signal="spectrogram"))).__name__
        'SpectrogramEncoder'
    """
    encoder = build_encoder(getattr(config, modality.kind), modality, config.width)
    if config.weights is not None and modality.kind == "video":
        if not isinstance(encoder, R3D18):
            raise ValueError(f"weights {config.weights}: the video encoder {config.video!r} takes no weights file.")
        encoder.load_torchvision(config.weights)
    return encoder
