"""In which precision losses compute, how they stay within its range, and what they say of what is beyond it."""

import math
from typing import Any

import torch
from torch import Tensor

_ORDINARY = (1e-4, 1e4)
"""Sizes at which squares, their squares and what is inverse to them are far from the ends of the range."""


class NotFiniteError(ValueError):
    """Values that are not finite, or of which something is wanted that is not."""


def at_least_float32(z: Tensor) -> Tensor:
    """Half precision as float32. On the way back, a gradient beyond half precision's range is cut at its end."""
    dtype = torch.promote_types(z.dtype, torch.float32)
    if z.dtype == dtype:
        return z
    wider: Tensor = _Widened.apply(z, dtype)  # type: ignore[no-untyped-call]
    return wider


class _Widened(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.dtype = z.dtype
        return z.to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if ctx.dtype.is_floating_point:
            limit = torch.finfo(ctx.dtype).max
            gradient = gradient.clamp(-limit, limit)
        return gradient.to(ctx.dtype), None


def smallest_size(dtype: torch.dtype) -> float:
    """The size of values below which a gradient that is inverse to it comes near the end of the range."""
    return torch.finfo(dtype).tiny * 2**20


def half_range(z: Tensor, *dims: int) -> Tensor:
    """Half of largest minus smallest along some dimensions, which are kept; no gradient, and it never overflows."""
    z = z.detach()
    return z.amax(dims, keepdim=True) / 2 - z.amin(dims, keepdim=True) / 2


def power_of_two(size: Tensor) -> Tensor | float:
    """What brings sizes near 1, so that a product with it rounds nothing; 1 where all sizes are ordinary."""
    if size.numel() and not torch.compiler.is_compiling():
        smallest, largest = size.aminmax()
        if _ORDINARY[0] < float(smallest) and float(largest) < _ORDINARY[1]:
            return 1.0
    limit = 120 if size.dtype == torch.float32 else 1000
    exponent = torch.frexp(size.detach()).exponent.clamp(-limit, limit)
    return torch.exp2(-exponent.to(size.dtype))


def in_range(z: Tensor, size: Tensor) -> Tensor:
    """``z`` times the :func:`power_of_two` of its size; zero, without a gradient, where that is below the smallest."""
    factor = power_of_two(size)
    if isinstance(factor, float):
        return z
    # Asked this way round NaN stays, and is seen later.
    return torch.where(size <= smallest_size(size.dtype), 0.0, z * factor)


def check_rows(**rows: Tensor) -> None:
    """Raise :class:`NotFiniteError` unless all entries of the named ``(*, d)`` are finite; nothing while compiling."""
    for name, z in rows.items():
        # A look at the values would break a graph.
        if torch.compiler.is_compiling() or math.isfinite(float(z.detach().sum())):
            continue
        finite = z.detach().isfinite().all(-1)
        if not bool(finite.all()):
            bad = finite.numel() - int(finite.sum())
            raise NotFiniteError(
                f"{name} has NaN or infinity in {bad} of {finite.numel()} rows; expected finite values."
            )


def check_value(value: Tensor, **compared: Tensor) -> Tensor:
    """The value of a loss, if it is finite; else :class:`NotFiniteError` says which of what it compares is why."""
    if torch.compiler.is_compiling() or bool(value.detach().isfinite().all()):
        return value
    check_rows(**compared)
    sizes = " and ".join(f"{name} up to {float(z.detach().abs().max()):.3g}" for name, z in compared.items())
    raise NotFiniteError(f"the loss between {sizes} is beyond {str(value.dtype)[6:]}; expected smaller values.")
