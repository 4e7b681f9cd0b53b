"""The global batch in every process, with the exact gradient."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether a process group with more than one process is up.

    >>> is_distributed()
    False
    """
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks, with the gradient of the global batch.

    Use it where every process computes the *same* loss on all rows. The backward pass sums the gradient over the W
    processes and gives each process its own rows: W times the gradient of one process. DDP then takes the mean over
    the processes, which divides by W, so the result is the gradient of one process. Do not use it where each process
    averages a loss over its own rows only.

    Args:
        tensor: ``(B_r, *)``. The number of rows may differ between processes; the rest of the shape and the type may
            not. Every process must call, in the same order.

    Returns:
        ``(B_1 + ... + B_W, *)``; the tensor itself where there is one process.

    >>> gather_with_gradient(torch.ones(2, 3)).shape
    torch.Size([2, 3])
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

        # all_gather needs equal shapes: pad to the largest number of rows, and cut the padding afterwards.
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
