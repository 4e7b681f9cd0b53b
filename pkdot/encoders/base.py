"""The base class of all encoders."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from pkdot.data.batch import Modality

RANKS = {"vector": 1, "signal": 2, "image": 3, "video": 4, "audio": 1}
"""Number of dimensions of one sample of each kind."""


class Encoder(nn.Module, ABC):
    """Turns one modality into tokens.

    ``forward(x)`` maps float32 ``(B, *modality.shape)`` to ``(B, L, width)``: L tokens, in the order of time if the
    modality has a time axis. A subclass declares the ``kinds`` that it reads.

    Args:
        modality: what the encoder reads.
        width: of its tokens.

    Raises:
        ValueError: the modality is of another kind, or its shape does not fit the kind.

    Example:
        >>> class Copy(Encoder):
        ...     kinds = ("vector",)
        ...
        ...     def forward(self, x):
        ...         return x[:, None]
        >>> Copy(Modality("signal", (1, 10)), width=4)
        Traceback (most recent call last):
        ValueError: Copy reads vector, got kind signal.
    """

    kinds: ClassVar[tuple[str, ...]]

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__()
        if modality.kind not in self.kinds:
            raise ValueError(f"{type(self).__name__} reads {' or '.join(self.kinds)}, got kind {modality.kind}.")
        if len(modality.shape) != RANKS[modality.kind] or min(modality.shape) < 1:
            raise ValueError(
                f"kind {modality.kind}: expected {RANKS[modality.kind]} axes of length 1 or more, "
                f"got shape {modality.shape}."
            )
        if width < 1:
            raise ValueError(f"got width {width}, expected at least 1.")
        self.modality = modality
        self.width = width

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, L, width)``."""
