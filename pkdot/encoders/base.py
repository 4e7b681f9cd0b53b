"""What every encoder is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from pkdot.data.batch import Modality

RANKS = {"vector": 1, "signal": 2, "image": 3, "video": 4, "audio": 1}
"""Number of dimensions of one sample of each kind."""


class Encoder(nn.Module, ABC):
    """Turns one modality into tokens.

    ``forward(x)`` maps ``(B, *modality.shape)`` float32 to ``(B, L, width)``: L tokens, in the order of time where
    the modality has time. A subclass says which ``kinds`` it reads.

    Raises:
        ValueError: the modality is of another kind, or its shape does not fit the kind.
    """

    kinds: ClassVar[tuple[str, ...]]

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__()
        if modality.kind not in self.kinds:
            raise ValueError(f"{type(self).__name__} reads {' or '.join(self.kinds)}, but this is a {modality.kind}.")
        if len(modality.shape) != RANKS[modality.kind] or min(modality.shape) < 1:
            raise ValueError(
                f"a {modality.kind} sample has {RANKS[modality.kind]} dimensions of at least 1, "
                f"but this one has shape {modality.shape}."
            )
        if width < 1:
            raise ValueError(f"width is {width}; expected at least 1.")
        self.modality = modality
        self.width = width

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, L, width)``."""
