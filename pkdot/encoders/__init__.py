"""Encoders: one for each kind of modality, from a batch of samples to a batch of tokens."""

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
    """The encoder of that name. Raises ``ValueError`` if there is none, or if it does not read the modality's kind."""
    if name not in ENCODERS:
        raise ValueError(f"encoder {name!r} is not one of {', '.join(ENCODERS)}.")
    return ENCODERS[name](modality, width)


def encoder_for(modality: Modality, config: ModelConfig) -> Encoder:
    """The encoder that the config picks for a kind of modality, with ``config.weights`` loaded into that of a video.

    Raises ``ValueError`` if the weights do not fit, or if the video encoder takes none.
    """
    encoder = build_encoder(getattr(config, modality.kind), modality, config.width)
    if config.weights is not None and modality.kind == "video":
        if not isinstance(encoder, R3D18):
            raise ValueError(f"weights {config.weights}: the video encoder {config.video!r} takes no weights file.")
        encoder.load_torchvision(config.weights)
    return encoder
