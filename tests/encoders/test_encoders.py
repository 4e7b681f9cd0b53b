from pathlib import Path

import pytest
import torch

from pkdot.data.batch import Modality
from pkdot.encoders import ENCODERS, build_encoder, encoder_for
from tests.encoders.toys import toy_config

CASES = [
    ("vector", Modality("vector", (5,))),
    ("vector", Modality("vector", (1,))),
    ("signal", Modality("signal", (6, 100), 100.0)),
    ("signal", Modality("signal", (3, 2816), 512.0)),
    ("signal", Modality("signal", (1, 3))),
    ("spectrogram", Modality("signal", (6, 100), 100.0)),
    ("spectrogram", Modality("signal", (3, 2816), 512.0)),
    ("spectrogram", Modality("signal", (1, 3))),
    ("audio", Modality("audio", (8000,), 16000.0)),
    ("image", Modality("image", (3, 48, 48))),
    ("image", Modality("image", (1, 17, 9))),
    ("video", Modality("video", (3, 12, 48, 48))),
    ("video", Modality("video", (1, 1, 8, 8))),
    ("r3d-18", Modality("video", (3, 4, 16, 16))),
    ("r3d-18", Modality("video", (1, 1, 8, 8))),
    ("r2plus1d-18", Modality("video", (4, 2, 16, 16))),
]
SMALL = [case for case in CASES if case[1].shape not in {(3, 2816), (3, 12, 48, 48)}]


def identify(value: object) -> str:
    return value if isinstance(value, str) else "x".join(map(str, value.shape))


@pytest.mark.parametrize(("name", "modality"), CASES, ids=identify)
def test_a_batch_becomes_finite_tokens_of_the_asked_width(name: str, modality: Modality) -> None:
    encoder = build_encoder(name, modality, 8)
    encoder(torch.rand(3, *modality.shape))
    tokens = encoder.eval()(torch.rand(3, *modality.shape))
    assert tokens.shape == (3, tokens.shape[1], 8)
    assert tokens.shape[1] >= 1
    assert tokens.isfinite().all()


def test_every_encoder_has_a_case() -> None:
    assert {name for name, _ in CASES} == set(ENCODERS)


@pytest.mark.parametrize(("name", "modality"), SMALL, ids=identify)
def test_a_sample_is_encoded_alike_alone_and_among_others(name: str, modality: Modality) -> None:
    encoder = build_encoder(name, modality, 8)
    x = torch.rand(5, *modality.shape)
    encoder(x)
    encoder.eval()
    together = encoder(x)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(encoder(x[order]), together[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder(x[2:3]), together[2:3], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "modality"), [case for case in SMALL if min(case[1].shape) > 1], ids=identify)
def test_every_parameter_learns(name: str, modality: Modality) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name, modality, 8)
    encoder(torch.rand(6, *modality.shape)).square().sum().backward()
    silent = [key for key, value in encoder.named_parameters() if value.grad is None or not value.grad.any()]
    # A bias before a normalisation layer has no effect, so there must be none.
    assert silent == []


@pytest.mark.parametrize(("name", "modality"), SMALL, ids=identify)
def test_a_constant_input_gives_finite_tokens(name: str, modality: Modality) -> None:
    encoder = build_encoder(name, modality, 8)
    for value in (0.0, 3.7):
        assert encoder(torch.full((4, *modality.shape), value)).isfinite().all()


def test_a_signal_that_only_differs_between_windows_is_not_drowned_in_rounding_noise() -> None:
    encoder = build_encoder("signal", Modality("signal", (1, 100)), 8)
    x = 1000 / 3 + torch.arange(8.0)[:, None, None].expand(8, 1, 100)
    encoder(x)
    encoder.eval()
    assert torch.allclose(encoder(x[:1]), encoder(x[:1] + 1e-4), atol=1e-3)


@pytest.mark.parametrize("name", ["signal", "spectrogram", "vector"])
def test_units_of_a_sensor_do_not_matter(name: str) -> None:
    modality = Modality("vector", (4,)) if name == "vector" else Modality("signal", (4, 100))
    x, units = torch.randn(8, *modality.shape), torch.tensor([1e-6, 1e3, 1.0, 50.0])
    scaled = x * units.view(4, *[1] * (x.dim() - 2))
    outputs = []
    for batch in (x, scaled):
        torch.manual_seed(0)
        encoder = build_encoder(name, modality, 8)
        encoder(batch)
        outputs.append(encoder.eval()(batch))
    torch.testing.assert_close(*outputs, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_another_kind_is_refused(name: str) -> None:
    kind = "vector" if name != "vector" else "image"
    shape = (4,) if kind == "vector" else (3, 8, 8)
    with pytest.raises(ValueError, match=f"got kind {kind}"):
        build_encoder(name, Modality(kind, shape), 8)


@pytest.mark.parametrize("shape", [(100,), (2, 100, 1), (0, 100)])
def test_a_shape_that_does_not_fit_the_kind_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="kind signal: expected 2 axes of length 1 or more"):
        build_encoder("signal", Modality("signal", shape), 8)


def test_a_width_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="got width 0, expected at least 1"):
        build_encoder("vector", Modality("vector", (4,)), 0)


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match="got encoder 'wave', expected one of vector, signal"):
        build_encoder("wave", Modality("signal", (2, 10)), 8)


@pytest.mark.parametrize(
    ("rate", "message"), [(None, "needs rate_hz"), (10.0, "got 0 samples in a window"), (1e12, "expected 1 to 65536")]
)
def test_audio_needs_a_rate_that_fits_its_windows(rate: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_encoder("audio", Modality("audio", (100,), rate), 8)


def test_the_config_picks_the_encoder_of_a_kind() -> None:
    modality = Modality("signal", (2, 100))
    assert type(encoder_for(modality, toy_config())) is ENCODERS["signal"]
    assert type(encoder_for(modality, toy_config(signal="spectrogram"))) is ENCODERS["spectrogram"]


def test_weights_for_an_encoder_that_takes_none_are_refused(tmp_path: Path) -> None:
    config = toy_config()
    config.weights = tmp_path / "weights.pt"
    with pytest.raises(ValueError, match="'video' takes no weights file"):
        encoder_for(Modality("video", (3, 4, 8, 8)), config)
    encoder_for(Modality("vector", (3,)), config)
