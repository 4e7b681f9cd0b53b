"""What signals and sound sound like to a convolution: spectrograms on a log scale.

Functions of tensors, differentiable with respect to the signal, float32 inside also under autocast.
"""

from functools import lru_cache

import numpy as np
import torch
from einops import rearrange
from scipy.signal import get_window
from torch import Tensor
from torch.nn import functional

WINDOW_S, HOP_S = 0.025, 0.010
"""Length of a window of sound, and what lies between the beginnings of two (seconds)."""
MOST_SAMPLES = 2**16
"""In a window; sound of some megahertz."""


def log_mel(
    waveform: Tensor,
    rate_hz: float,
    *,
    mels: int = 64,
    window_s: float = WINDOW_S,
    hop_s: float = HOP_S,
    low_hz: float = 0.0,
    high_hz: float | None = None,
    floor: float = 1e-6,
) -> Tensor:
    """Log power in mel bands: ``log(F |STFT(x)|^2 + floor)``.

    Periodic Hann window, frames centred on multiples of the hop, zeros beyond both ends, FFT length the next power
    of two; ``F`` is :func:`mel_filterbank`.

    Args:
        waveform: ``(*, time)``.
        rate_hz: samples per second.
        mels: number of bands.
        window_s, hop_s: seconds.
        low_hz, high_hz: edges of the lowest and highest band; None is half the rate.
        floor: the power that silence has.

    Returns:
        ``(*, mels, frames)`` float32, with ``frames = 1 + time // hop``.

    Raises:
        ValueError: for an empty waveform, a window or hop below one sample, or edges out of order.
    """
    window, hop = samples_per_window(rate_hz, window_s), samples_per_window(rate_hz, hop_s)
    if waveform.shape[-1] == 0:
        raise ValueError(f"expected a waveform (*, time) with time > 0, got {tuple(waveform.shape)}.")
    high = rate_hz / 2 if high_hz is None else high_hz
    bins = 1 << (window - 1).bit_length()
    filters = mel_filterbank(bins, rate_hz, mels, low_hz, high).to(waveform.device)
    with torch.autocast(waveform.device.type, enabled=False):
        flat = waveform.reshape(-1, waveform.shape[-1]).float()
        spectrum = torch.stft(
            flat,
            bins,
            hop_length=hop,
            win_length=window,
            window=torch.hann_window(window, device=flat.device),
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        energy = torch.log(filters @ power + floor)
    return energy.reshape(*waveform.shape[:-1], *energy.shape[-2:])


def samples_per_window(rate_hz: float, seconds: float) -> int:
    """How many samples a window spans. Raises ``ValueError`` for none, and for more than sound could ever need."""
    samples = round(seconds * rate_hz)
    if not 1 <= samples <= MOST_SAMPLES:
        few = "less than a sample" if samples < 1 else f"more than {MOST_SAMPLES} samples"
        raise ValueError(f"a window of {seconds} s is {few} at {rate_hz} Hz.")
    return samples


def mel_filterbank(bins: int, rate_hz: float, mels: int, low_hz: float, high_hz: float) -> Tensor:
    """Triangles that are evenly spaced on Slaney's mel scale, each of unit area over Hz: ``(mels, bins // 2 + 1)``.

    The scale is linear below 1 kHz (200/3 Hz a mel) and logarithmic above (27 mels per factor 6.4): M. Slaney,
    Auditory Toolbox, 1998. Raises ``ValueError`` unless ``0 <= low_hz < high_hz <= rate_hz / 2``.
    """
    if not 0 <= low_hz < high_hz <= rate_hz / 2:
        raise ValueError(f"expected 0 <= low_hz < high_hz <= {rate_hz / 2} Hz, got {low_hz} and {high_hz}.")
    return torch.from_numpy(_mel_filterbank(bins, rate_hz, mels, low_hz, high_hz))


# The cache keeps arrays: a tensor made inside inference mode could not be used for training afterwards.
@lru_cache(maxsize=32)
def _mel_filterbank(bins: int, rate_hz: float, mels: int, low_hz: float, high_hz: float) -> np.ndarray:
    edges = _mel_to_hz(np.linspace(_hz_to_mel(low_hz), _hz_to_mel(high_hz), mels + 2))
    frequencies = np.fft.rfftfreq(bins, 1 / rate_hz)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (frequencies - lower) / (centre - lower)
    falling = (upper - frequencies) / (upper - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(2 / (upper - lower) * triangles, dtype=np.float32)


_KNEE_HZ, _KNEE_MEL, _LOG_STEP = 1000.0, 15.0, np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz * 3 / 200
    return float(_KNEE_MEL + np.log(hz / _KNEE_HZ) / _LOG_STEP)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    above = _KNEE_HZ * np.exp((mel - _KNEE_MEL) * _LOG_STEP)
    return np.where(mel < _KNEE_MEL, mel * 200 / 3, above)


def power_spectrogram(
    signal: Tensor, rate_hz: float = 1.0, *, segment: int = 16, overlap: int = 4, bins: int = 128
) -> Tensor:
    """Power spectral density of overlapping segments, each with its mean removed.

    One-sided, Tukey window (shape 0.25), no padding: the meaning of ``scipy.signal.spectrogram``. With the default
    lengths a signal of 1536 samples gives 65 x 127, the input of the published PKDOT code (its ``rate_hz`` was 1000
    for 512 Hz data, which only scales the result).

    Args:
        signal: ``(*, time)``; a signal shorter than a segment is followed by zeros.
        rate_hz: samples per second.
        segment, overlap: lengths in samples.
        bins: length of the FFT.

    Returns:
        ``(*, bins // 2 + 1, frames)`` float32, with ``frames = (time - overlap) // (segment - overlap)``.

    Raises:
        ValueError: unless ``0 <= overlap < segment <= bins``.
    """
    if not 0 <= overlap < segment <= bins:
        raise ValueError(f"expected 0 <= overlap < segment <= bins, got {overlap}, {segment} and {bins}.")
    with torch.autocast(signal.device.type, enabled=False):
        padded = functional.pad(signal.float(), (0, max(0, segment - signal.shape[-1])))
        segments = padded.unfold(-1, segment, segment - overlap)
        taper = torch.from_numpy(get_window(("tukey", 0.25), segment).astype(np.float32)).to(signal.device)
        centred = (segments - segments.mean(-1, keepdim=True)) * taper
        spectrum = torch.fft.rfft(centred, n=bins)
        power = (spectrum.real.square() + spectrum.imag.square()) / (rate_hz * taper.square().sum())
        sides = torch.full((bins // 2 + 1,), 2.0, device=signal.device)
        sides[0] = 1.0
        if bins % 2 == 0:
            sides[-1] = 1.0
        return rearrange(power * sides, "... frames bins -> ... bins frames")


def spectrogram(
    signal: Tensor,
    rate_hz: float = 1.0,
    *,
    segment: int = 16,
    overlap: int = 4,
    bins: int = 128,
    floor: float = 1e-6,
) -> Tensor:
    """``log(power_spectrogram(signal) + floor)``: ``(*, time)`` to ``(*, bins // 2 + 1, frames)``.

    The published code feeds the power itself, whose few large values drown the rest; the logarithm is this
    project's choice.
    """
    return torch.log(power_spectrogram(signal, rate_hz, segment=segment, overlap=overlap, bins=bins) + floor)
