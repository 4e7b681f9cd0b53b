import math

import pytest
import torch
from torch import Tensor, nn

from pkdot.encoders.fusion import ConcatFusion, CrossAttentionFusion, drop_streams, positions
from pkdot.encoders.streams import Stream


def streams(*lengths: int, size: int = 5, width: int = 8, seed: int = 0) -> list[Stream]:
    generator = torch.Generator().manual_seed(seed)
    tokens = [torch.randn(size, length, width, generator=generator) for length in lengths]
    return [Stream(x, x.mean(1), torch.ones(size, dtype=torch.bool)) for x in tokens]


def without(stream: Stream, row: int) -> Stream:
    present = stream.present.clone()
    present[row] = False
    return Stream(stream.tokens * present[:, None, None], stream.pooled * present[:, None], present)


def pooled_by_hand(fusion: CrossAttentionFusion, given: list[Stream], row: int, members: list[int]) -> list[Tensor]:
    """The definition in loops, for one sample: for each query token and each key stream that is present."""
    alone = {m: fusion.within[m]((given[m].tokens + positions(given[m].tokens))[row : row + 1]) for m in members}
    pooled = []
    for m in members:
        total = alone[m].clone()
        for other in members:
            if other != m:
                attention = fusion.across[fusion.pairs.index((m, other))]
                found = [attention(alone[m][:, [t]], alone[other], alone[other])[0] for t in range(total.shape[1])]
                total = total + torch.cat(found, 1) / (len(members) - 1)
        pooled.append(fusion.norms[m](total.mean(1))[0])
    return pooled


@pytest.mark.parametrize("members", [[0, 1, 2], [0, 2], [1]])
def test_cross_attention_follows_its_definition_over_the_modalities_that_are_there(members: list[int]) -> None:
    torch.manual_seed(0)
    fusion = CrossAttentionFusion(3, 8).eval()
    given = streams(4, 1, 3)
    given = [stream if m in members else without(stream, 2) for m, stream in enumerate(given)]
    with torch.no_grad():
        pooled = pooled_by_hand(fusion, given, 2, members)
        everyone = torch.zeros(3, 8)
        everyone[members] = torch.stack(pooled)
        gates = fusion.gate(everyone.flatten())[members].softmax(0)
        expected = sum(gate * c for gate, c in zip(gates, pooled, strict=True))
        torch.testing.assert_close(fusion(given)[2], expected, atol=1e-5, rtol=0)


def test_two_streams_are_gated_as_by_a_sigmoid() -> None:
    torch.manual_seed(0)
    fusion = CrossAttentionFusion(2, 8).eval()
    given = streams(3, 2)
    with torch.no_grad():
        first, second = pooled_by_hand(fusion, given, 0, [0, 1])
        weight, bias = fusion.gate.weight, fusion.gate.bias
        g = torch.sigmoid(torch.cat([first, second]) @ (weight[0] - weight[1]) + bias[0] - bias[1])
        torch.testing.assert_close(fusion(given)[0], g * first + (1 - g) * second, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [CrossAttentionFusion, ConcatFusion])
def test_what_stands_in_a_missing_stream_does_not_matter(kind: type[nn.Module]) -> None:
    fusion = kind(2, 8).eval()
    first, second = streams(3, 2)
    gone = without(second, 1)
    noise = torch.full_like(gone.tokens, 9.0) * ~gone.present[:, None, None]
    other = Stream(gone.tokens + noise, gone.pooled + noise.mean(1), gone.present)
    torch.testing.assert_close(fusion([first, other]), fusion([first, gone]), atol=1e-6, rtol=0)
    assert not torch.allclose(fusion([first, gone])[1], fusion([first, second])[1])


@pytest.mark.parametrize("kind", [CrossAttentionFusion, ConcatFusion])
def test_a_sample_without_any_stream_stays_finite(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    fusion = kind(2, 8)
    embedding = fusion([without(stream, 0) for stream in streams(3, 2)])
    embedding.square().sum().backward()
    assert embedding.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())
    if kind is CrossAttentionFusion:
        assert not embedding[0].any()


def test_a_query_chooses_between_the_tokens_of_the_other_stream() -> None:
    torch.manual_seed(0)
    fusion = CrossAttentionFusion(2, 8).eval()
    tokens = torch.randn(1, 2, 8)
    with torch.no_grad():
        _, weights = fusion.across[0](tokens, 5 * torch.randn(1, 6, 8), torch.randn(1, 6, 8))
    assert float((weights[0, 0] - weights[0, 1]).abs().max()) > 1e-3


def test_order_in_time_counts() -> None:
    torch.manual_seed(0)
    fusion = CrossAttentionFusion(1, 8).eval()
    (stream,) = streams(4)
    turned = Stream(stream.tokens.flip(1), stream.pooled, stream.present)
    assert not torch.allclose(fusion([stream]), fusion([turned]), atol=1e-4)


@pytest.mark.parametrize("width", [1, 6, 7])
def test_positions_are_the_sinusoids_of_the_paper(width: int) -> None:
    table = positions(torch.zeros(1, 5, width))
    for t in range(5):
        for i in range(width):
            angle = t / 10000 ** (2 * (i // 2) / width)
            assert math.isclose(float(table[t, i]), math.cos(angle) if i % 2 else math.sin(angle), abs_tol=1e-5)


@pytest.mark.parametrize("width", [1, 3, 6])
def test_any_width_finds_a_number_of_heads(width: int) -> None:
    assert CrossAttentionFusion(2, width)(streams(2, 3, width=width)).shape == (5, width)


def test_streams_are_dropped_from_a_share_of_the_samples_and_never_the_last() -> None:
    torch.manual_seed(0)
    present = torch.ones(4000, 3, dtype=torch.bool)
    present[:1000, 1:] = False
    present[1000] = False
    kept = drop_streams(present, 0.5)
    assert torch.equal(kept[:1001], present[:1001])
    lost = ~kept[1001:]
    assert set(lost.sum(1).tolist()) == {0, 1}
    assert abs(float(lost.any(1).float().mean()) - 0.5) < 0.05
    assert all(abs(float(column.float().mean()) - 1 / 6) < 0.03 for column in lost.unbind(1))
    assert torch.equal(drop_streams(present, 0.0), present)


@pytest.mark.parametrize("kind", [CrossAttentionFusion, ConcatFusion])
def test_streams_are_dropped_in_training_only(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    fusion, given = kind(2, 8, dropout=0.0, stream_dropout=1.0), streams(3, 2, size=1)
    outcomes = {tuple(fusion(given)[0].tolist()) for _ in range(20)}
    alone = {
        tuple(fusion.eval()([without(s, 0) if i == m else s for i, s in enumerate(given)])[0].tolist()) for m in (0, 1)
    }
    assert len(outcomes) == 2
    torch.testing.assert_close(torch.tensor(sorted(outcomes)), torch.tensor(sorted(alone)), atol=1e-5, rtol=0)
    assert len({tuple(fusion(given)[0].tolist()) for _ in range(20)}) == 1
