"""The models are still those of the published runs: same size, same dropout, same output for a fixed input.

The numbers were printed from the models once. A model that is changed on purpose gets new numbers; its saved weights
are then no longer valid.
"""

import math

import pytest
import torch
from torch import Tensor, nn

from pkdot.data.batch import Modality
from pkdot.encoders import ENCODERS, build_encoder
from pkdot.students import STUDENTS
from pkdot.teachers import TEACHERS
from tests.encoders.toys import toy_batch, toy_config, toy_schema

ENCODED = {
    "vector": (Modality("vector", (5,)), 640, [0.1], 24.68006),
    "signal": (Modality("signal", (3, 700), 512.0), 23912, [0.4] * 4, -1.39862),
    "spectrogram": (Modality("signal", (3, 700), 512.0), 152984, [0.2], -0.1611),
    "audio": (Modality("audio", (4000,), 16000.0), 152696, [0.2], -1.14478),
    "image": (Modality("image", (3, 30, 22)), 151448, [0.1], 4.75794),
    "video": (Modality("video", (3, 5, 30, 22), 25.0), 61296, [0.3, 0.2], -0.86296),
    "r3d-18": (Modality("video", (3, 5, 30, 22), 25.0), 33170376, [], 2.67112),
    "r2plus1d-18": (Modality("video", (3, 5, 30, 22), 25.0), 31304229, [], 2.44272),
}
MODELS = {
    "cross-attention": (179310, [0.4] * 4 + [0.1] * 20, -0.64042),
    "concat": (176171, [0.4] * 4 + [0.1, 0.1, 0.2], -1.46518),
    "visual": (24587, [0.4] * 4 + [0.1, 0.2], 7.57691),
    "hallucinating": (25163, [0.4] * 4 + [0.1, 0.2], -0.20697),
}


@torch.no_grad()
def set_by_rule(model: nn.Module) -> None:
    """Set parameters by a rule, from their position only, to about the size of trained ones."""
    for number, parameter in enumerate(model.parameters()):
        spread = 1.0 / math.sqrt(max(1, parameter[0].numel())) if parameter.ndim > 1 else 1.0
        ramp = torch.arange(parameter.numel(), dtype=torch.float32) % 9973
        parameter.copy_(spread * (0.7 * ramp + number).sin().reshape(parameter.shape))


def inputs(shape: tuple[int, ...]) -> Tensor:
    return (0.37 * torch.arange(4 * math.prod(shape), dtype=torch.float32)).sin().reshape(4, *shape) / 2 + 0.5


def dropout_of(model: nn.Module) -> list[float]:
    attention = [module.dropout for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    return [module.p for module in model.modules() if isinstance(module, nn.Dropout)] + attention


def size_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def settled(model: nn.Module) -> nn.Module:
    """Put the model into training mode without randomness, to collect the statistics of one batch."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.MultiheadAttention):
            module.eval()
        if hasattr(module, "stream_dropout"):
            module.stream_dropout = 0.0
    return model


def checksum(values: Tensor) -> float:
    weights = (1.3 * torch.arange(values.numel(), dtype=torch.float64)).cos()
    return float((values.double().flatten() * weights).sum())


@torch.no_grad()
def encoded(name: str) -> tuple[int, list[float], float]:
    modality = ENCODED[name][0]
    encoder = build_encoder(name, modality, 8)
    set_by_rule(encoder)
    dropout = dropout_of(encoder)
    settled(encoder)(inputs(modality.shape))
    return size_of(encoder), dropout, checksum(encoder.eval()(inputs(modality.shape)))


@torch.no_grad()
def answered(name: str) -> tuple[int, list[float], float]:
    schema = toy_schema("body", "notes.v2", "scene", prevalent=("body", "notes.v2"))
    model = (TEACHERS | STUDENTS)[name](schema, toy_config())
    set_by_rule(model)
    for key, buffer in model.named_buffers():
        if key.endswith("trained"):
            buffer.fill_(1)
    dropout = dropout_of(model)
    batch = {key: inputs(x.shape[1:]) for key, x in toy_batch(schema).items()}
    settled(model)(batch)
    output = model.eval()(batch)
    return (
        size_of(model),
        dropout,
        checksum(torch.cat([output.embedding, output.prediction, *output.streams.values()], 1)),
    )


def test_every_model_has_its_numbers() -> None:
    assert ENCODED.keys() == ENCODERS.keys()
    assert MODELS.keys() == (TEACHERS | STUDENTS).keys()


@pytest.mark.parametrize("name", ENCODED)
def test_an_encoder_is_the_one_of_published_runs(name: str) -> None:
    _, size, dropout, answer = ENCODED[name]
    assert encoded(name) == (size, dropout, pytest.approx(answer, rel=1e-3, abs=1e-3))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_the_one_of_published_runs(name: str) -> None:
    size, dropout, answer = MODELS[name]
    assert answered(name) == (size, dropout, pytest.approx(answer, rel=1e-3, abs=1e-3))
