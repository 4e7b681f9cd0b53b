"""R3D-18 and R(2+1)D-18 for video; the names and shapes of their weights are those of torchvision."""

import pickle
from pathlib import Path
from typing import ClassVar

import torch
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pkdot.data.batch import Modality
from pkdot.encoders.base import Encoder

KINETICS_MEAN, KINETICS_DEVIATION = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


class FactoredConv(nn.Sequential):
    """A convolution over space, then one over time: the "(2+1)D" of R(2+1)D.

    >>> FactoredConv(3, 8, middle=6, stride=2)(torch.rand(2, 3, 4, 8, 8)).shape
    torch.Size([2, 8, 2, 4, 4])
    """

    def __init__(self, inputs: int, outputs: int, middle: int, stride: int) -> None:
        super().__init__(
            nn.Conv3d(inputs, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            nn.BatchNorm3d(middle),
            nn.ReLU(inplace=True),
            nn.Conv3d(middle, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        )


class VideoBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions, whole or factored, with a shortcut.

    >>> VideoBlock(4, 8, stride=2, factored=False)(torch.rand(2, 4, 4, 8, 8)).shape
    torch.Size([2, 8, 2, 4, 4])
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, factored: bool) -> None:
        super().__init__()
        # With this many channels in between, both forms have about the same number of weights.
        middle = (inputs * outputs * 27) // (inputs * 9 + 3 * outputs)

        def convolution(inputs: int, stride: int) -> nn.Module:
            if factored:
                return FactoredConv(inputs, outputs, middle, stride)
            return nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)

        self.conv1 = nn.Sequential(convolution(inputs, stride), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(convolution(outputs, 1), nn.BatchNorm3d(outputs))
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """The output; a stride halves time, height and width."""
        return torch.relu(self.conv2(self.conv1(x)) + self.downsample(x))


class VideoResNet18(nn.Module):
    """The 18-layer video ResNet without its classifier; ``state_dict`` has torchvision's keys except ``fc``.

    Shapes: ``(B, channels, T, H, W)`` to ``(B, 512, ceil(T / 8), ceil(H / 16), ceil(W / 16))``.

    >>> VideoResNet18(3, factored=False)(torch.rand(2, 3, 12, 48, 48)).shape  # doctest: +SKIP
    torch.Size([2, 512, 2, 3, 3])
    """

    def __init__(self, channels: int, *, factored: bool) -> None:
        super().__init__()
        if factored:
            self.stem = nn.Sequential(
                nn.Conv3d(channels, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
                nn.BatchNorm3d(45),
                nn.ReLU(inplace=True),
                nn.Conv3d(45, 64, (3, 1, 1), 1, (1, 0, 0), bias=False),
                nn.BatchNorm3d(64),
                nn.ReLU(inplace=True),
            )
        else:
            self.stem = nn.Sequential(
                nn.Conv3d(channels, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
                nn.BatchNorm3d(64),
                nn.ReLU(inplace=True),
            )

        def layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                VideoBlock(inputs, outputs, stride, factored=factored),
                VideoBlock(outputs, outputs, 1, factored=factored),
            )

        self.layer1 = layer(64, 64, 1)
        self.layer2 = layer(64, 128, 2)
        self.layer3 = layer(128, 256, 2)
        self.layer4 = layer(256, 512, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """The last feature map."""
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return features


class R3D18(Encoder):
    """R3D-18 (Tran et al., 2018, arXiv 1711.11248), the video backbone of PKDOT, with a token for each place and time.

    Use it on a GPU, with weights from Kinetics-400 (:meth:`load_torchvision`). For a CPU or a few hundred clips, take
    the ``video`` encoder. The released PKDOT code freezes the backbone together with a classifier that was never
    trained; here the whole encoder learns.

    Shapes: ``(B, channels, T, H, W)`` in [0, 1] to ``(B, ceil(T/8) * ceil(H/16) * ceil(W/16), width)``.

    >>> R3D18(Modality("image", (3, 48, 48)), width=64)
    Traceback (most recent call last):
    ValueError: R3D18 reads video, got kind image.
    >>> R3D18(Modality("video", (3, 12, 48, 48)), width=64)(torch.rand(2, 3, 12, 48, 48)).shape  # doctest: +SKIP
    torch.Size([2, 18, 64])
    """

    kinds: ClassVar[tuple[str, ...]] = ("video",)
    factored: ClassVar[bool] = False
    mean: Tensor
    deviation: Tensor

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__(modality, width)
        channels = modality.shape[0]
        self.trunk = VideoResNet18(channels, factored=self.factored)
        self.projection = nn.Linear(512, width)
        grey = channels != 3
        mean, deviation = torch.tensor(KINETICS_MEAN), torch.tensor(KINETICS_DEVIATION)
        for name, value in (("mean", mean), ("deviation", deviation)):
            value = value.mean().expand(channels) if grey else value
            self.register_buffer(name, rearrange(value, "channels -> channels 1 1 1").clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, L, width)``, one for each cell of the last feature map, in the order time, row, column."""
        features = self.trunk((x - self.mean) / self.deviation)
        features = rearrange(features, "batch channels time row column -> batch (time row column) channels")
        tokens: Tensor = self.projection(features)
        return tokens

    def load_torchvision(self, path: Path) -> None:
        """Load torchvision's weights for this architecture from a ``.pt``, ``.pth`` or ``.safetensors`` file.

        The classifier ``fc`` is left out. If the video does not have three channels, each channel of the stem gets
        the mean weights of the three, scaled so that the size of the stem's output stays the same.

        Raises:
            ValueError: the file cannot be read, or its keys or shapes are not those of this architecture.
        """
        weights = {key: value for key, value in _read_weights(path).items() if not key.startswith("fc.")}
        stem, channels = weights.get("stem.0.weight"), self.modality.shape[0]
        if stem is not None and stem.dim() == 5 and stem.shape[1] != channels:
            repeated = stem.mean(1, keepdim=True).expand(-1, channels, -1, -1, -1)
            weights["stem.0.weight"] = repeated * (stem.shape[1] / channels)
        own = self.trunk.state_dict()
        missing, unexpected = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
        if missing or unexpected:
            raise ValueError(
                f"{path}: not the weights of {type(self).__name__}: {_some(missing)} missing, "
                f"{_some(unexpected)} unexpected."
            )
        for key, value in own.items():
            if weights[key].shape != value.shape:
                raise ValueError(
                    f"{path}: {key}: got shape {tuple(weights[key].shape)}, expected {tuple(value.shape)}."
                )
        self.trunk.load_state_dict(weights)


class R2Plus1D18(R3D18):
    """R(2+1)D-18 (Tran et al., 2018, arXiv 1711.11248): R3D-18 with each convolution factored into space and time.

    It has about as many weights as R3D-18, is easier to optimise, and slower on a CPU. Otherwise it is like
    :class:`R3D18`.

    >>> R2Plus1D18(Modality("video", (3, 12, 48, 48)), width=64)(torch.rand(2, 3, 12, 48, 48)).shape  # doctest: +SKIP
    torch.Size([2, 18, 64])
    """

    factored: ClassVar[bool] = True


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{path}: no readable weights ({str(error).splitlines()[0] if str(error) else 'empty'})."
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"{path}: expected a state_dict, that is a mapping from names to tensors and nothing else.")
    return weights


def _some(keys: list[str]) -> str:
    if len(keys) <= 3:
        return ", ".join(keys) or "nothing"
    return f"{', '.join(keys[:3])} and {len(keys) - 3} more"
