"""R3D-18 and R(2+1)D-18 against a list of torchvision's keys and shapes, written out from the papers' tables."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pkdot.data.batch import Modality
from pkdot.encoders import build_encoder, encoder_for
from tests.encoders.toys import toy_config

VIDEO = Modality("video", (3, 2, 16, 16))
WIDTHS = [("layer1", 64, 64), ("layer2", 64, 128), ("layer3", 128, 256), ("layer4", 256, 512)]
MIDDLES = {
    ("layer1", 0): 144,
    ("layer1", 1): 144,
    ("layer2", 0): 230,
    ("layer2", 1): 288,
    ("layer3", 0): 460,
    ("layer3", 1): 576,
    ("layer4", 0): 921,
    ("layer4", 1): 1152,
}
PARAMETERS = {"r3d-18": 33_371_472, "r2plus1d-18": 31_505_325}
"""The size with the classifier of 400 classes."""

Shapes = dict[str, tuple[int, ...]]


def norm(key: str, channels: int) -> Shapes:
    vectors = {f"{key}.{name}": (channels,) for name in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{key}.num_batches_tracked": ()}


def expected_shapes(name: str) -> Shapes:
    factored = name == "r2plus1d-18"
    if factored:
        shapes: Shapes = {"stem.0.weight": (45, 3, 1, 7, 7), "stem.3.weight": (64, 45, 3, 1, 1)}
        shapes |= norm("stem.1", 45) | norm("stem.4", 64)
    else:
        shapes = {"stem.0.weight": (64, 3, 3, 7, 7), **norm("stem.1", 64)}
    for layer, inputs, outputs in WIDTHS:
        for block in (0, 1):
            for number in (1, 2):
                before = inputs if (block, number) == (0, 1) else outputs
                key = f"{layer}.{block}.conv{number}"
                if factored:
                    middle = MIDDLES[layer, block]
                    shapes[f"{key}.0.0.weight"] = (middle, before, 1, 3, 3)
                    shapes |= norm(f"{key}.0.1", middle)
                    shapes[f"{key}.0.3.weight"] = (outputs, middle, 3, 1, 1)
                else:
                    shapes[f"{key}.0.weight"] = (outputs, before, 3, 3, 3)
                shapes |= norm(f"{key}.1", outputs)
        if layer != "layer1":
            shapes[f"{layer}.0.downsample.0.weight"] = (outputs, inputs, 1, 1, 1)
            shapes |= norm(f"{layer}.0.downsample.1", outputs)
    return shapes


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """A checkpoint of R3D-18 as torchvision would save it."""
    generator = torch.Generator().manual_seed(0)
    shapes = {**expected_shapes("r3d-18"), "fc.weight": (400, 512), "fc.bias": (400,)}
    return {
        key: torch.tensor(7) if not shape else 0.05 * torch.rand(shape, generator=generator)
        for key, shape in shapes.items()
    }


@pytest.mark.parametrize("name", ["r3d-18", "r2plus1d-18"])
def test_keys_shapes_and_size_are_torchvisions(name: str) -> None:
    trunk = build_encoder(name, VIDEO, 8).trunk
    assert {key: tuple(value.shape) for key, value in trunk.state_dict().items()} == expected_shapes(name)
    assert sum(p.numel() for p in trunk.parameters()) + 400 * 512 + 400 == PARAMETERS[name]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_are_loaded_into_the_trunk_without_the_classifier(
    weights: dict[str, Tensor], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(weights, path)
    config = toy_config(video="r3d-18")
    config.weights = path
    loaded = encoder_for(VIDEO, config).trunk.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in loaded.items())


@pytest.mark.parametrize("channels", [1, 4])
def test_another_number_of_channels_starts_from_the_mean_stem(
    weights: dict[str, Tensor], tmp_path: Path, channels: int
) -> None:
    torch.save(weights, tmp_path / "weights.pt")
    encoder = build_encoder("r3d-18", Modality("video", (channels, 2, 16, 16)), 8)
    encoder.load_torchvision(tmp_path / "weights.pt")
    stem = encoder.trunk.stem[0].weight
    grey = torch.rand(1, 1, 3, 8, 8)
    colour = torch.nn.functional.conv3d(grey.expand(-1, 3, -1, -1, -1), weights["stem.0.weight"])
    torch.testing.assert_close(torch.nn.functional.conv3d(grey.expand(-1, channels, -1, -1, -1), stem), colour)


def test_weights_that_do_not_fit_are_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    # Expanded zeros have the right shapes and take almost no memory.
    weights = {key: torch.zeros(()).expand(shape) for key, shape in expected_shapes("r3d-18").items()}
    encoder = build_encoder("r3d-18", VIDEO, 8)

    def refused(content: object, message: str) -> None:
        torch.save(content, path)
        with pytest.raises(ValueError, match=message) as caught:
            encoder.load_torchvision(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    lacking = {key: value for key, value in weights.items() if key != "stem.0.weight"}
    refused(lacking, r"stem\.0\.weight missing, nothing unexpected")
    refused({**weights, "neck.weight": torch.ones(1)}, r"nothing missing, neck\.weight unexpected")
    refused({**weights, "stem.1.bias": torch.ones(3)}, r"stem\.1\.bias: got shape \(3,\), expected \(64,\)")
    refused({"state_dict": weights}, "expected a state_dict")
    torch.save(weights, path)
    encoder = build_encoder("r2plus1d-18", VIDEO, 8)
    with pytest.raises(ValueError, match=r"not the weights of R2Plus1D18: .* and \d+ more missing"):
        encoder.load_torchvision(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_missing_or_broken_file_is_told_in_one_line(tmp_path: Path, suffix: str) -> None:
    encoder, path = build_encoder("r3d-18", VIDEO, 8), tmp_path / f"weights{suffix}"
    for content in (None, b"", b"not weights at all"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match="no readable weights") as caught:
            encoder.load_torchvision(path)
        assert "\n" not in str(caught.value)
