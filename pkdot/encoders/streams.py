"""Encoding several modalities side by side, some of which some samples may lack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.encoders import Encoder, encoder_for


@dataclass(frozen=True)
class Stream:
    """One modality of a batch, encoded. A sample that lacks the modality has zeros.

    Attributes:
        tokens: ``(B, L, d)``.
        pooled: ``(B, d)``, the mean over the tokens.
        present: ``(B,)`` bool.
    """

    tokens: Tensor
    pooled: Tensor
    present: Tensor


class StreamEncoder(nn.Module):
    """An encoder with a pooled embedding, which leaves out the samples that lack the modality.

    They are left out before the encoder runs, so that whatever stands in their rows, NaN included, reaches neither
    the output nor the statistics of a normalisation layer.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, present: Tensor | None = None) -> Stream:
        """Encode ``(B, *shape)``. Raises ``ValueError`` for any other shape."""
        shape = self.encoder.modality.shape
        if x.shape[1:] != shape:
            raise ValueError(f"samples have shape {tuple(x.shape[1:])}, and the {self.encoder.modality.kind} {shape}.")
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
    """A :class:`StreamEncoder` for each named modality of a schema.

    Raises:
        ValueError: no modality is named, or one that the schema does not have.
    """

    def __init__(self, schema: Schema, names: Sequence[str], config: ModelConfig) -> None:
        super().__init__()
        if not names or not set(names) <= set(schema.modalities):
            raise ValueError(
                f"{schema.name}: a model of {', '.join(names) or 'no modality'}; "
                f"the data has {', '.join(schema.modalities) or 'none'}."
            )
        self.names = tuple(names)
        # A list, for a module's name may hold no dot and a modality's may.
        self.encoders = nn.ModuleList(StreamEncoder(encoder_for(schema.modalities[name], config)) for name in names)

    def forward(
        self, modalities: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None
    ) -> dict[str, Stream]:
        """The streams by name; no other entry of ``modalities`` is read.

        Raises:
            ValueError: a named modality is not there, or has another shape than in the schema.
        """
        streams: dict[str, Stream] = {}
        for name, encoder in zip(self.names, self.encoders, strict=True):
            if name not in modalities:
                raise ValueError(f"modality {name!r} is not among those given: {', '.join(modalities) or 'none'}.")
            try:
                streams[name] = encoder(modalities[name], present.get(name) if present else None)
            except ValueError as error:
                raise ValueError(f"modality {name!r}: {error}") from error
        return streams


def _spread(rows: Tensor, present: Tensor) -> Tensor:
    """Put the rows of the samples that have the modality back to their places among zeros."""
    whole = rows.new_zeros(len(present), *rows.shape[1:])
    return whole.index_copy(0, present.nonzero().squeeze(1), rows)
