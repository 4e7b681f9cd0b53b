"""Columns of a matrix by their rank in each row. Ties go to the smaller column."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

# Small enough that the keys of a part fit in L2 of a processor core, large enough to be worth a thread.
_ENTRIES_OF_A_PART = 2**16


def evenly_spaced_ranks(k: int, candidates: int, device: torch.device | None = None) -> Tensor:
    """Return k ranks from 0 to ``candidates - 1`` at equal distances, as int64 ``(k,)``.

    >>> evenly_spaced_ranks(3, 9)
    tensor([0, 4, 8])
    """
    return torch.arange(k, device=device) * (candidates - 1) // max(k - 1, 1)


def columns_at_ranks(values: Tensor, ranks: Tensor) -> Tensor:
    """Return the columns at the given ranks of each row; rank 0 is the largest value.

    Args:
        values: ``(*, R, B)``, none of them NaN.
        ranks: int64 ``(k,)``, 0 to B - 1.

    Returns:
        int64 ``(*, R, k)``.

    >>> columns_at_ranks(torch.tensor([[0.1, 0.9, 0.5]]), torch.tensor([0, 2]))
    tensor([[1, 0]])
    """
    by_keys = values.device.type == "cpu" and values.dtype == torch.float32 and sys.byteorder == "little"
    if torch.compiler.is_compiling() or not by_keys or not values.numel():
        return values.sort(descending=True, stable=True).indices[..., ranks]
    rows, wanted = rearrange(values.detach(), "... b -> (...) b").numpy(), ranks.numpy()
    parts = np.array_split(rows, min(-(-values.numel() // _ENTRIES_OF_A_PART), len(rows)))
    threads = min(torch.get_num_threads(), len(parts))
    if threads == 1:
        found = np.concatenate([_by_keys(part, wanted) for part in parts])
    else:
        with ThreadPoolExecutor(threads) as pool:
            found = np.concatenate(list(pool.map(lambda part: _by_keys(part, wanted), parts)))
    return torch.from_numpy(found).reshape(*values.shape[:-1], len(wanted))


def extreme_columns(values: Tensor, k: int, *, largest: bool) -> Tensor:
    """Return the columns of the k largest, or smallest, values of each row, the most extreme first.

    Args:
        values: ``(*, R, B)``.
        k: at most B.
        largest: False for the smallest values.

    Returns:
        int64 ``(*, R, k)``.

    >>> extreme_columns(torch.tensor([[0.1, 0.9, 0.9, 0.5]]), 3, largest=True)
    tensor([[1, 2, 3]])
    """
    if not torch.compiler.is_compiling():
        found, columns = values.topk(min(k + 1, values.shape[-1]), largest=largest)
        # topk does not say which of several equal values it returns. That matters only at the border.
        if not bool((found[..., k - 1 : k] == found[..., k:]).any()):
            columns = columns[..., :k].sort().values
            order = values.gather(-1, columns).sort(descending=largest, stable=True).indices
            return columns.gather(-1, order)
    return values.sort(descending=largest, stable=True).indices[..., :k].contiguous()


def _by_keys(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Rank the columns by sorting 64-bit keys: the value in the upper half, the column in the lower half.

    This is several times faster than a stable sort with indices.
    """
    keys = np.empty(values.shape, dtype=np.int64)
    halves = keys.view(np.int32).reshape(*values.shape, 2)
    bits = (values + np.float32(0.0)).view(np.int32)  # -0.0 and 0.0 are one value
    # The bits of a negative float grow with its magnitude: flip them, so that the order of bits is that of values.
    np.bitwise_xor(bits, (bits >> 31) & 0x7FFFFFFF, out=bits)
    np.invert(bits, out=halves[..., 1])
    halves[..., 0] = np.arange(values.shape[1], dtype=np.int32)
    keys.sort(axis=-1)
    chosen: np.ndarray = keys[:, ranks] & 0xFFFFFFFF
    return chosen
