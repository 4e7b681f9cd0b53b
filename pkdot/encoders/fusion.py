"""Fusion: several streams become one embedding. Teachers and students share it."""

import math
from collections.abc import Sequence
from itertools import permutations

import torch
from einops import rearrange
from torch import Tensor, nn

from pkdot.encoders.streams import Stream

STREAM_DROPOUT = 0.5
"""Share of the training samples in which one random stream is hidden from a teacher."""


class ConcatFusion(nn.Module):
    """Concatenates the pooled streams and applies a perceptron. A missing stream is replaced by a learned embedding.

    Shapes: n streams, pooled ``(B, d)``, to ``(B, d)``.

    Args:
        streams: n.
        width: d.
        dropout: of the perceptron's input.
        stream_dropout: share of the training samples in which one random stream is treated as missing.

    Example:
        >>> tokens, everywhere = torch.randn(2, 4, 8), torch.ones(2, dtype=torch.bool)
        >>> streams = [Stream(tokens, tokens.mean(1), everywhere)] * 3
        >>> ConcatFusion(3, 8)(streams).shape
        torch.Size([2, 8])
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
    r"""Self-attention in every stream, cross-attention between every ordered pair, and a gated sum of the results.

    With the tokens :math:`X_m` of modality m after its self-attention block, over the modalities that are present:

    .. math::
        Z_m = X_m + \operatorname{mean}_{n \ne m} \operatorname{Attention}(X_m, X_n, X_n), \quad
        c_m = \operatorname{LayerNorm}(\operatorname{mean}_l Z_{ml}), \quad
        g = \operatorname{softmax}(W [c_1; \dots; c_M]), \quad z = \sum_m g_m c_m

    No stream attends to a missing stream, whose gate is 0. A sample without any stream gets a zero embedding. A
    single stream only passes through its self-attention block.

    For two streams the gate is the sigmoid gate of PKDOT (arXiv 2401.15489). The released code differs in two ways.
    It attends from one pooled vector to another, so every attention weight is 1. And its self-attention runs along
    the batch, so a prediction depends on the other samples. Here both attend over the tokens of one sample, with
    positions, in pre-norm blocks with dropout. Without ``stream_dropout``, the stream that is learned fastest keeps
    the others from being learned at all.

    Shapes: n streams, tokens ``(B, L_m, d)``, to ``(B, d)``.

    Args:
        streams: n.
        width: d.
        dropout: in the attention blocks.
        stream_dropout: share of the training samples in which one random stream is treated as missing.

    Example:
        >>> tokens, everywhere = torch.randn(2, 4, 8), torch.ones(2, dtype=torch.bool)
        >>> streams = [Stream(tokens, tokens.mean(1), everywhere)] * 2
        >>> CrossAttentionFusion(2, 8)(streams).shape
        torch.Size([2, 8])
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
        # Not -inf: a sample without any stream would then divide 0 by 0.
        gates = logits.masked_fill(~present, torch.finfo(logits.dtype).min).softmax(1)
        embedding: Tensor = (gates[:, :, None] * pooled).sum(1)
        return embedding


def drop_streams(present: Tensor, share: float) -> Tensor:
    """Remove one random stream from a share of the samples; no sample loses its last stream.

    Shapes: ``(B, n)`` bool to the same.

    >>> drop_streams(torch.tensor([[True, True], [True, False]]), share=1.0).sum(1)
    tensor([1, 1])
    """
    chosen = torch.rand(present.shape, device=present.device).argmax(1, keepdim=True)
    left = present.scatter(1, chosen, False)
    losing = (torch.rand(len(present), device=present.device) < share) & left.any(1)
    return torch.where(losing[:, None], left, present)


def positions(tokens: Tensor) -> Tensor:
    """Sinusoidal positions ``(L, d)`` for tokens ``(B, L, d)`` (Vaswani et al., 2017, arXiv 1706.03762).

    >>> positions(torch.zeros(5, 2, 4))
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    length, width = tokens.shape[1:]
    steps = torch.arange(length, device=tokens.device, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, device=tokens.device) * (-math.log(10000.0) / width))
    angles = steps * rates
    waves = rearrange([angles.sin(), angles.cos()], "wave step rate -> step (rate wave)")
    return waves[:, :width].to(tokens.dtype)
