"""Seeing the global batch from every process, with the exact gradient."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether a process group with more than one process is up."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Rows of every process's tensor, in the order of their ranks, with the gradient of the global batch.

    The rule: every process computes the *same* loss on all rows; the backward pass sums the gradient over the W
    processes and hands each its own rows, so that a process holds W times the one-process gradient, and the mean
    that DDP takes over processes divides by W. No factor is left to set. A loss that is not replicated (local rows
    against all columns, averaged locally) is a different rule.

    Args:
        tensor: ``(B_r, *)``; the number of rows may differ between processes, the rest of the shape and the dtype
            may not. Every process must call, in the same order.

    Returns:
        ``(B_1 + ... + B_W, *)``; the tensor itself where no process group is up.
    """
    if not is_distributed():
        return tensor
    gathered: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        world, rank = dist.get_world_size(), dist.get_rank()
        rows = torch.tensor([tensor.shape[0]], device=tensor.device)
        counts = [torch.zeros_like(rows) for _ in range(world)]
        dist.all_gather(counts, rows)
        sizes = [int(count) for count in counts]
        ctx.start, ctx.rows = sum(sizes[:rank]), sizes[rank]

        # Collectives want equal shapes: pad to the largest share, cut the padding afterwards.
        padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
        padded[: tensor.shape[0]] = tensor
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient, op=dist.ReduceOp.SUM)
        return gradient[ctx.start : ctx.start + ctx.rows]
