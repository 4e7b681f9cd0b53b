"""Encode several modalities side by side; a sample may lack some of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.encoders import Encoder, encoder_for


@dataclass(frozen=True)
class Stream:
    """One encoded modality of a batch. The rows of samples that lack the modality are zero.

    >>> tokens = torch.ones(2, 4, 8)
    >>> Stream(tokens, pooled=tokens.mean(1), present=torch.tensor([True, True])).pooled.shape
    torch.Size([2, 8])

    Attributes:
        tokens: ``(B, L, d)``.
        pooled: ``(B, d)``, the mean over the tokens.
        present: ``(B,)`` bool.
    """

    tokens: Tensor
    pooled: Tensor
    present: Tensor


class StreamEncoder(nn.Module):
    """An encoder, followed by the mean over its tokens. It skips the samples that lack the modality.

    They are removed before the encoder runs. The content of their rows, even NaN, reaches neither the output nor the
    statistics of a normalisation layer.

    >>> from pkdot.data.batch import Modality
    >>> from pkdot.encoders import build_encoder
    >>> encoder = StreamEncoder(build_encoder("vector", Modality("vector", (5,)), width=8))
    >>> stream = encoder(torch.randn(3, 5), present=torch.tensor([True, False, True]))
    >>> stream.tokens.shape, stream.pooled[1].tolist()
    (torch.Size([3, 4, 8]), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, present: Tensor | None = None) -> Stream:
        """Encode samples ``(B, *shape)`` as a stream; ``present`` is a ``(B,)`` mask, and None means all.

        Raises:
            ValueError: the samples have another shape than the encoder's modality.
        """
        shape = self.encoder.modality.shape
        if x.shape[1:] != shape:
            raise ValueError(f"expected samples of shape {shape}, got {tuple(x.shape[1:])}.")
        if present is None or bool(present.all()):
            tokens = self.encoder(x)
            everywhere = torch.ones(len(x), dtype=torch.bool, device=x.device)
            return Stream(tokens, tokens.mean(1), everywhere)
        return self._encode_present(x, present.bool())

    def _encode_present(self, x: Tensor, present: Tensor) -> Stream:
        batch, width = len(x), self.encoder.width
        if not bool(present.any()):
            return Stream(x.new_zeros(batch, 1, width), x.new_zeros(batch, width), present)
        tokens = self.encoder(x[present])
        return Stream(_spread(tokens, present), _spread(tokens.mean(1), present), present)


class StreamEncoders(nn.Module):
    """A :class:`StreamEncoder` for each of some modalities of a schema.

    Args:
        schema: of the data.
        names: the modalities to encode.
        config: the encoder for each kind, and their width.

    Raises:
        ValueError: ``names`` is empty, or names a modality that the schema does not have.

    Example:
        >>> from pkdot.data.batch import Modality
        >>> from pkdot.tasks import Task
        >>> streams = {"x": Modality("vector", (5,)), "y": Modality("signal", (2, 100), 50.0)}
        >>> schema = Schema("toy", Task("regression", ("score",)), streams, ("x",), ("y",))
        >>> encoders = StreamEncoders(schema, ("x", "y"), ModelConfig(width=8))
        >>> encoded = encoders({"x": torch.randn(2, 5), "y": torch.randn(2, 2, 100)})
        >>> {name: tuple(stream.tokens.shape) for name, stream in encoded.items()}
        {'x': (2, 4, 8), 'y': (2, 13, 8)}
    """

    def __init__(self, schema: Schema, names: Sequence[str], config: ModelConfig) -> None:
        super().__init__()
        if not names or not set(names) <= set(schema.modalities):
            raise ValueError(
                f"{schema.name}: got {', '.join(names) or 'no modality'} to encode, "
                f"expected some of {', '.join(schema.modalities) or 'none'}."
            )
        self.names = tuple(names)
        # A list, because the name of a modality may contain a dot, and the name of a module may not.
        self.encoders = nn.ModuleList(StreamEncoder(encoder_for(schema.modalities[name], config)) for name in names)

    def forward(
        self, modalities: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None
    ) -> dict[str, Stream]:
        """Encode the modalities: the streams by name. Other entries of ``modalities`` are not read.

        Args:
            modalities: ``(B, *shape)`` by name.
            present: ``(B,)`` bool by name, for the modalities that some samples lack.

        Raises:
            ValueError: a modality is not given, or has another shape than in the schema.
        """
        streams: dict[str, Stream] = {}
        for name, encoder in zip(self.names, self.encoders, strict=True):
            if name not in modalities:
                raise ValueError(f"modality {name!r} is missing; got {', '.join(modalities) or 'none'}.")
            try:
                streams[name] = encoder(modalities[name], present.get(name) if present else None)
            except ValueError as error:
                raise ValueError(f"modality {name!r}: {error}") from error
        return streams


def _spread(rows: Tensor, present: Tensor) -> Tensor:
    """Put the rows of the samples that have the modality back in their places; the other rows are zero."""
    whole = rows.new_zeros(len(present), *rows.shape[1:])
    return whole.index_copy(0, present.nonzero().squeeze(1), rows)
