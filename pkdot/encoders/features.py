"""Spectrograms of signals and sound on a log scale, for convolutional encoders.

The functions are differentiable with respect to the signal, and compute in float32 also under autocast.
"""

from functools import lru_cache

import numpy as np
import torch
from einops import rearrange
from scipy.signal import get_window
from torch import Tensor
from torch.nn import functional

WINDOW_S, HOP_S = 0.025, 0.010
"""Length of a window of sound, and the time from one window to the next (seconds)."""
FLOOR = 1e-6
"""Power added before the logarithm, so that the logarithm of silence is finite."""
MOST_SAMPLES = 2**16
"""Largest number of samples in a window: enough for sound at a rate of some megahertz."""


def log_mel(waveform: Tensor, rate_hz: float, *, mels: int = 64) -> Tensor:
    """The log power of a sound in mel bands: ``log(F |STFT(x)|^2 + FLOOR)`` with ``F`` = :func:`mel_filterbank`.

    The bands reach from 0 to half the rate. The window is a periodic Hann window of ``WINDOW_S``. Frames are centred
    on multiples of ``HOP_S``, the sound is padded with zeros at both ends, and the FFT length is the next power of two.

    Args:
        waveform: ``(*, time)``.
        rate_hz: samples per second.
        mels: number of bands.

    Returns:
        ``(*, mels, frames)`` float32, with ``frames = 1 + time // hop``.

    Raises:
        ValueError: the waveform is empty, or the hop is shorter than a sample.

    Example:
        >>> log_mel(torch.zeros(2, 16_000), rate_hz=16_000).shape
        torch.Size([2, 64, 101])
    """
    window, hop = samples_per_window(rate_hz, WINDOW_S), samples_per_window(rate_hz, HOP_S)
    if waveform.shape[-1] == 0:
        raise ValueError(f"expected a waveform (*, time) with time > 0, got {tuple(waveform.shape)}.")
    bins = 1 << (window - 1).bit_length()
    filters = mel_filterbank(bins, rate_hz, mels, 0.0, rate_hz / 2).to(waveform.device)
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
        energy = torch.log(filters @ power + FLOOR)
    return energy.reshape(*waveform.shape[:-1], *energy.shape[-2:])


def samples_per_window(rate_hz: float, seconds: float) -> int:
    """The number of samples in a window. Raises ``ValueError`` for less than 1 and for more than ``MOST_SAMPLES``.

    >>> samples_per_window(16_000, 0.025)
    400
    """
    samples = round(seconds * rate_hz)
    if not 1 <= samples <= MOST_SAMPLES:
        raise ValueError(
            f"got {samples} samples in a window of {seconds} s at {rate_hz} Hz, expected 1 to {MOST_SAMPLES}."
        )
    return samples


def mel_filterbank(bins: int, rate_hz: float, mels: int, low_hz: float, high_hz: float) -> Tensor:
    """Triangular filters, evenly spaced on Slaney's mel scale, each of unit area over Hz: ``(mels, bins // 2 + 1)``.

    The scale is linear below 1 kHz (200/3 Hz per mel) and logarithmic above (27 mels per factor of 6.4): M. Slaney,
    Auditory Toolbox, 1998.

    Raises:
        ValueError: unless ``0 <= low_hz < high_hz <= rate_hz / 2``.

    Example:
        >>> mel_filterbank(512, 16_000, mels=64, low_hz=0, high_hz=8000).shape
        torch.Size([64, 257])
    """
    if not 0 <= low_hz < high_hz <= rate_hz / 2:
        raise ValueError(f"expected 0 <= low_hz < high_hz <= {rate_hz / 2} Hz, got {low_hz} and {high_hz}.")
    return torch.from_numpy(_mel_filterbank(bins, rate_hz, mels, low_hz, high_hz))


# Arrays are kept, not tensors: a tensor made in inference mode could not be used for training later.
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
    """The power spectral density of overlapping segments, each without its mean.

    It is one-sided, with a Tukey window (shape 0.25) and no padding, as in ``scipy.signal.spectrogram``. With the
    default lengths a signal of 1536 samples gives 65 x 127, the input of the published PKDOT code. (That code sets
    ``rate_hz`` to 1000 for 512 Hz data, which only scales the result.)

    Args:
        signal: ``(*, time)``; a signal shorter than a segment is padded with zeros.
        rate_hz: samples per second.
        segment, overlap: lengths in samples.
        bins: length of the FFT.

    Returns:
        ``(*, bins // 2 + 1, frames)`` float32, with ``frames = (time - overlap) // (segment - overlap)``.

    Raises:
        ValueError: unless ``0 <= overlap < segment <= bins``.

    Example:
        >>> power_spectrogram(torch.randn(1536)).shape
        torch.Size([65, 127])
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
        density: Tensor = power * sides
        return rearrange(density, "... frames bins -> ... bins frames")


def spectrogram(
    signal: Tensor,
    rate_hz: float = 1.0,
    *,
    segment: int = 16,
    overlap: int = 4,
    bins: int = 128,
) -> Tensor:
    """``log(power_spectrogram(signal) + FLOOR)``: ``(*, time)`` to ``(*, bins // 2 + 1, frames)``.

    The published code takes the power itself, where a few large values hide the others. The logarithm is this
    project's choice.

    >>> spectrogram(torch.randn(2, 3, 1536)).shape
    torch.Size([2, 3, 65, 127])
    """
    return torch.log(power_spectrogram(signal, rate_hz, segment=segment, overlap=overlap, bins=bins) + FLOOR)
