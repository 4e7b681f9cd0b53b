"""The precision in which losses compute, how they stay within its range, and the error for values beyond it."""

import math
from typing import Any

import torch
from torch import Tensor

_ORDINARY = (1e-4, 1e4)
"""Sizes whose squares, fourth powers and inverses are far from the ends of the range."""


class NotFiniteError(ValueError):
    """Values are not finite, or the loss between them is not.

    >>> check_rows(student=torch.tensor([[1.0, float("nan")]]))
    Traceback (most recent call last):
    pkdot.precision.NotFiniteError: student has NaN or infinity in 1 of 1 rows; expected finite values.
    """


def at_least_float32(z: Tensor) -> Tensor:
    """Convert half precision to float32; float32 and float64 stay as they are.

    In the backward pass a gradient beyond the range of half precision is clipped to its largest value.

    >>> at_least_float32(torch.zeros(2, dtype=torch.float16)).dtype, at_least_float32(torch.zeros(2).double()).dtype
    (torch.float32, torch.float64)
    """
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
    """The size below which ``1 / size`` comes near the largest number of a type.

    >>> smallest_size(torch.float32) < 1e-31
    True
    """
    return torch.finfo(dtype).tiny * 2**20


def half_range(z: Tensor, *dims: int) -> Tensor:
    """Half of the largest minus the smallest value along some dimensions, which are kept with size 1.

    It does not overflow, and it has no gradient.

    >>> half_range(torch.tensor([[1.0, 5.0], [2.0, 2.0]]), -1).tolist()
    [[2.0], [0.0]]
    """
    z = z.detach()
    return z.amax(dims, keepdim=True) / 2 - z.amin(dims, keepdim=True) / 2


def power_of_two(size: Tensor) -> Tensor | float:
    """The powers of two that bring sizes near 1; the number 1 where all sizes are ordinary.

    A product with a power of two is exact.

    >>> power_of_two(torch.tensor([3.0, 0.5])), power_of_two(torch.tensor([2.0**30, 3.0])).tolist()
    (1.0, [4.656612873077393e-10, 0.25])
    """
    if size.numel() and not torch.compiler.is_compiling():
        smallest, largest = size.aminmax()
        if _ORDINARY[0] < float(smallest) and float(largest) < _ORDINARY[1]:
            return 1.0
    limit = 120 if size.dtype == torch.float32 else 1000
    exponent = torch.frexp(size.detach()).exponent.clamp(-limit, limit)
    return torch.exp2(-exponent.to(size.dtype))


def in_range(z: Tensor, size: Tensor) -> Tensor:
    """``z`` times the :func:`power_of_two` of its size; zero, without a gradient, where the size is too small.

    >>> in_range(torch.tensor([2.0**30, 1e-40]), size=torch.tensor([2.0**30, 1e-40])).tolist()
    [0.5, 0.0]
    """
    factor = power_of_two(size)
    if isinstance(factor, float):
        return z
    # With ">" and the two values swapped, NaN would become 0 and nobody would see it.
    return torch.where(size <= smallest_size(size.dtype), 0.0, z * factor)


def check_rows(**rows: Tensor) -> None:
    """Raise :class:`NotFiniteError` unless all entries of the named tensors, ``(*, d)`` each, are finite.

    Nothing is checked while torch compiles.

    >>> check_rows(student=torch.zeros(3, 2))
    """
    for name, z in rows.items():
        # Reading a value would break the compiled graph.
        if torch.compiler.is_compiling() or math.isfinite(float(z.detach().sum())):
            continue
        finite = z.detach().isfinite().all(-1)
        if not bool(finite.all()):
            bad = finite.numel() - int(finite.sum())
            raise NotFiniteError(
                f"{name} has NaN or infinity in {bad} of {finite.numel()} rows; expected finite values."
            )


def check_value(value: Tensor, **compared: Tensor) -> Tensor:
    """Return the value of a loss if it is finite.

    Raises:
        NotFiniteError: it is not; the message says which input is not finite, or how large the inputs are.

    >>> check_value(torch.tensor(float("inf")), student=torch.full((2, 2), 1e30))
    Traceback (most recent call last):
    pkdot.precision.NotFiniteError: the loss between student up to 1e+30 is beyond float32; expected smaller values.
    """
    if torch.compiler.is_compiling() or bool(value.detach().isfinite().all()):
        return value
    check_rows(**compared)
    sizes = " and ".join(f"{name} up to {float(z.detach().abs().max()):.3g}" for name, z in compared.items())
    raise NotFiniteError(f"the loss between {sizes} is beyond {str(value.dtype)[6:]}; expected smaller values.")
