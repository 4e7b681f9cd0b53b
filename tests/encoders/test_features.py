import numpy as np
import pytest
import scipy.signal
import torch

from pkdot.encoders.features import log_mel, mel_filterbank, power_spectrogram, spectrogram


def slaney_mel_to_hz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def reference_filterbank(bins: int, rate: float, mels: int, top_mel: float) -> np.ndarray:
    edges = [slaney_mel_to_hz(top_mel * i / (mels + 1)) for i in range(mels + 2)]
    rows = np.zeros((mels, bins // 2 + 1))
    for m in range(mels):
        for k in range(bins // 2 + 1):
            height = np.interp(k * rate / bins, edges[m : m + 3], [0, 1, 0], left=0, right=0)
            rows[m, k] = height * 2 / (edges[m + 2] - edges[m])
    return rows


def test_mel_filters_equal_slaneys_definition_written_as_loops() -> None:
    top_mel = 15 + 27 * np.log(8.0) / np.log(6.4)  # 8 kHz
    expected = reference_filterbank(512, 16000.0, 40, top_mel)
    np.testing.assert_allclose(mel_filterbank(512, 16000.0, 40, 0.0, 8000.0).numpy(), expected, rtol=1e-4, atol=1e-8)


def test_log_mel_equals_scipys_short_time_fourier_transform() -> None:
    rate, window, hop = 16000.0, 400, 160
    waveform = np.random.default_rng(0).normal(size=2000)
    padded = np.pad(waveform, 256)  # frames are centred in FFT blocks of 512, with zeros beyond both ends
    taper = np.pad(scipy.signal.get_window("hann", window), 56)
    frames = [padded[start : start + 512] * taper for start in range(0, len(waveform) + 1, hop)]
    power = np.abs(np.fft.rfft(np.stack(frames), axis=1)).T ** 2
    expected = np.log(mel_filterbank(512, rate, 64, 0.0, 8000.0).double().numpy() @ power + 1e-6)
    result = log_mel(torch.from_numpy(waveform), rate)
    assert result.shape == (64, 1 + 2000 // hop)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-3)


def test_log_mel_of_silence_is_the_floor() -> None:
    torch.testing.assert_close(log_mel(torch.zeros(2, 3, 800), 8000.0, mels=8), torch.full((2, 3, 8, 11), -13.815511))


def test_log_mel_puts_a_tone_into_its_band() -> None:
    time = torch.arange(8000) / 8000
    bands = log_mel(torch.sin(2 * torch.pi * 440 * time), 8000.0, mels=32).mean(-1)
    edges = [slaney_mel_to_hz(i * (15 + 27 * np.log(4) / np.log(6.4)) / 33) for i in range(34)]
    best = int(bands.argmax())
    assert edges[best] < 440 < edges[best + 2]


def test_log_mel_takes_a_single_sample_and_refuses_none() -> None:
    assert log_mel(torch.ones(1), 8000.0).shape == (64, 1)
    with pytest.raises(ValueError, match="time > 0"):
        log_mel(torch.ones(2, 0), 8000.0)


def test_mel_filters_above_half_the_rate_are_refused() -> None:
    with pytest.raises(ValueError, match=r"4000\.0 Hz"):
        mel_filterbank(512, 8000.0, 40, 0.0, 5000.0)


def test_log_mel_refuses_a_window_without_a_sample() -> None:
    with pytest.raises(ValueError, match="got 0 samples in a window"):
        log_mel(torch.ones(800), 20.0)


@pytest.mark.parametrize("time", [1536, 100, 17, 16])
@pytest.mark.parametrize("bins", [128, 65])
def test_power_spectrogram_equals_scipy(time: int, bins: int) -> None:
    signal = np.random.default_rng(1).normal(size=(2, time))
    _, _, expected = scipy.signal.spectrogram(signal, fs=512, nperseg=16, noverlap=4, nfft=bins)
    result = power_spectrogram(torch.from_numpy(signal), 512.0, bins=bins)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-3, atol=1e-8)


def test_spectrogram_of_three_seconds_has_the_published_size() -> None:
    assert spectrogram(torch.randn(2, 1, 1536)).shape == (2, 1, 65, 127)


def test_spectrogram_of_a_constant_or_too_short_signal_is_finite() -> None:
    assert spectrogram(torch.ones(3, 64)).isfinite().all()
    assert spectrogram(torch.ones(3, 2)).shape == (3, 65, 1)


def test_spectrogram_refuses_segments_that_do_not_advance() -> None:
    with pytest.raises(ValueError, match="overlap < segment"):
        spectrogram(torch.ones(64), segment=8, overlap=8)


def test_both_features_have_a_finite_gradient_at_silence() -> None:
    for feature in (lambda x: log_mel(x, 8000.0, mels=8), spectrogram):
        signal = torch.zeros(400, requires_grad=True)
        feature(signal).sum().backward()
        assert signal.grad is not None
        assert signal.grad.isfinite().all()


def test_features_stay_in_float32_under_autocast() -> None:
    signal = torch.randn(2, 400)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = log_mel(signal, 8000.0, mels=8), spectrogram(signal)
    torch.testing.assert_close(mixed, (log_mel(signal, 8000.0, mels=8), spectrogram(signal)))
