"""Bringing streams together: what teachers and students share."""

import math
from collections.abc import Sequence
from itertools import permutations

import torch
from einops import rearrange
from torch import Tensor, nn

from pkdot.encoders.streams import Stream

STREAM_DROPOUT = 0.5
"""Share of the training samples of which a teacher does not see one stream, chosen at random."""


class ConcatFusion(nn.Module):
    """The pooled streams side by side, a learned embedding in place of a missing one, then a perceptron.

    Shapes: n streams of ``(B, d)`` to ``(B, d)``.
    """

    def __init__(self, streams: int, width: int, *, dropout: float = 0.2, stream_dropout: float = 0.0) -> None:
        super().__init__()
        self.stream_dropout = stream_dropout
        self.missing = nn.Parameter(0.02 * torch.randn(streams, width))
        self.layers = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(streams * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, streams: Sequence[Stream]) -> Tensor:
        """The embedding ``(B, d)``."""
        present = torch.stack([stream.present for stream in streams], 1)
        if self.training:
            present = drop_streams(present, self.stream_dropout)
        parts = [
            torch.where(there[:, None], stream.pooled, missing)
            for stream, there, missing in zip(streams, present.unbind(1), self.missing, strict=True)
        ]
        embedding: Tensor = self.layers(torch.cat(parts, 1))
        return embedding


class CrossAttentionFusion(nn.Module):
    """Self-attention within every stream, cross-attention between every ordered pair, a gated sum of the results.

    With tokens ``X_m`` of modality m, after a self-attention block: ``Z_m = X_m + mean over present n != m of
    Attention(X_m, X_n, X_n)``, pooled to ``c_m``; ``g = softmax(W [c_1; ...; c_M])`` over the present modalities; the
    embedding is ``sum_m g_m c_m``. A missing stream is nobody's key and has gate 0; a sample without any stream gets
    a zero embedding. One stream alone passes through its self-attention block.

    For two streams the gate is the sigmoid gate of PKDOT (arXiv 2401.15489). Its released code attends from one
    pooled vector to another, which makes every attention weight 1, and its self-attention runs along the batch,
    which makes a prediction depend on its neighbours; here both attend over the tokens of one sample, in pre-norm
    blocks with dropout, and positions in time are told apart. In training a share of the samples loses a stream
    (``stream_dropout``): otherwise the stream that is learned fastest keeps the others from being learned at all.

    Shapes: n streams of ``(B, L_m, d)`` to ``(B, d)``.
    """

    def __init__(
        self, streams: int, width: int, *, dropout: float = 0.1, stream_dropout: float = STREAM_DROPOUT
    ) -> None:
        super().__init__()
        self.stream_dropout = stream_dropout
        heads = next(heads for heads in (4, 2, 1) if width % heads == 0)
        self.within = nn.ModuleList(
            nn.Sequential(
                nn.TransformerEncoderLayer(
                    width, heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
                ),
                nn.LayerNorm(width),
            )
            for _ in range(streams)
        )
        self.pairs = tuple(permutations(range(streams), 2))
        self.across = nn.ModuleList(nn.MultiheadAttention(width, heads, dropout, batch_first=True) for _ in self.pairs)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(streams))
        self.gate = nn.Linear(streams * width, streams)

    def forward(self, streams: Sequence[Stream]) -> Tensor:
        """The embedding ``(B, d)``."""
        present = torch.stack([stream.present for stream in streams], 1)
        if self.training:
            present = drop_streams(present, self.stream_dropout)
        alone = [
            block(stream.tokens + positions(stream.tokens)) for block, stream in zip(self.within, streams, strict=True)
        ]
        tokens = list(alone)
        others = (present.sum(1, keepdim=True) - 1).clamp(min=1)
        for (query, key), attention in zip(self.pairs, self.across, strict=True):
            found, _ = attention(alone[query], alone[key], alone[key], need_weights=False)
            share = present[:, key, None] / others
            tokens[query] = tokens[query] + share[:, None] * found
        pooled = torch.stack([norm(token.mean(1)) for norm, token in zip(self.norms, tokens, strict=True)], 1)
        pooled = pooled * present[:, :, None]
        logits = self.gate(rearrange(pooled, "batch streams width -> batch (streams width)"))
        # A finite floor: a sample without any stream would otherwise divide 0 by 0.
        gates = logits.masked_fill(~present, torch.finfo(logits.dtype).min).softmax(1)
        embedding: Tensor = (gates[:, :, None] * pooled).sum(1)
        return embedding


def drop_streams(present: Tensor, share: float) -> Tensor:
    """Take one stream, chosen at random, from a share of the samples; none loses its last one.

    Shapes: ``(B, n)`` bool to the same.
    """
    chosen = torch.rand(present.shape, device=present.device).argmax(1, keepdim=True)
    left = present.scatter(1, chosen, False)
    losing = (torch.rand(len(present), device=present.device) < share) & left.any(1)
    return torch.where(losing[:, None], left, present)


def positions(tokens: Tensor) -> Tensor:
    """Sinusoidal positions ``(L, d)`` for tokens ``(B, L, d)`` (Vaswani et al., 2017, arXiv 1706.03762)."""
    length, width = tokens.shape[1:]
    steps = torch.arange(length, device=tokens.device, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, device=tokens.device) * (-math.log(10000.0) / width))
    angles = steps * rates
    waves = rearrange([angles.sin(), angles.cos()], "wave step rate -> step (rate wave)")
    return waves[:, :width].to(tokens.dtype)
