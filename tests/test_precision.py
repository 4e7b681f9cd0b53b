import math

import pytest
import torch

from pkdot.precision import (
    NotFiniteError,
    at_least_float32,
    check_rows,
    check_value,
    half_range,
    in_range,
    power_of_two,
    smallest_size,
)

SIZES = {
    torch.float32: [1e-45, 1e-38, 1e-30, 1e-5, 1.0, 3.0, 1e5, 1e30, 3e38],
    torch.float64: [5e-324, 1e-300, 1e-38, 1.0, 1e38, 1e300, 1.7e308],
}


@pytest.mark.parametrize("dtype", SIZES)
def test_a_power_of_two_brings_sizes_near_one_and_rounds_nothing(dtype: torch.dtype) -> None:
    sizes = torch.tensor(SIZES[dtype], dtype=dtype)
    factor = power_of_two(sizes)
    assert isinstance(factor, torch.Tensor)
    assert bool((torch.frexp(factor).mantissa == 0.5).all())
    assert bool((factor * sizes <= 2**24).all())
    usual = sizes > smallest_size(dtype)
    assert bool((factor * sizes >= 0.5)[usual].all())
    assert torch.equal(factor * sizes / factor, sizes)


def test_ordinary_values_stay_as_they_are_and_so_does_their_gradient() -> None:
    z = torch.tensor([[2.0, -3.0], [0.5, 1e3]], requires_grad=True)
    size = z.detach().abs().amax(-1, keepdim=True)
    assert power_of_two(size) == 1.0
    assert in_range(z, size) is z


def test_one_size_out_of_the_ordinary_has_its_row_alone_taken_near_one() -> None:
    z = torch.tensor([[1e30, 2e30], [3.0, 4.0], [1e-36, 0.0], [0.0, 0.0]], requires_grad=True)
    found = in_range(z, z.detach().abs().amax(-1, keepdim=True))
    assert bool((found[:2].abs().amax(-1) >= 0.5).all() & (found[:2].abs().amax(-1) <= 1).all())
    torch.testing.assert_close(found[:2, 0] / found[:2, 1], torch.tensor([0.5, 0.75]))
    assert not found[2:].any()  # as good as nothing: a gradient that is inverse to it would overflow
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert gradient.isfinite().all()
    assert not gradient[2:].any()


def test_nan_is_handed_on_and_not_taken_for_nothing() -> None:
    z = torch.tensor([[math.nan, 1.0]])
    assert in_range(z, z.abs().amax(-1, keepdim=True)).isnan().any()


def test_half_the_range_is_exact_up_to_the_largest_numbers() -> None:
    z = torch.tensor([[3e38, -1.0, 0.0], [-3e38, 5.0, 0.0]])
    torch.testing.assert_close(half_range(z, 0), torch.tensor([[3e38, 3.0, 0.0]]))
    torch.testing.assert_close(half_range(z, -2, -1), torch.tensor([[3e38]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_and_its_gradient_cut_where_it_would_be_infinite(dtype: torch.dtype) -> None:
    z = torch.tensor([1.0, 2.0, 3.0], dtype=dtype, requires_grad=True)
    wider = at_least_float32(z)
    assert wider.dtype == torch.float32
    limit = torch.finfo(dtype).max
    (gradient,) = torch.autograd.grad(wider, z, torch.tensor([3.4e38, -3.4e38, 2.5]))
    assert gradient.tolist() == [limit, -limit, 2.5]


def test_single_and_double_precision_are_left_alone() -> None:
    for dtype in (torch.float32, torch.float64):
        z = torch.ones(2, dtype=dtype)
        assert at_least_float32(z) is z


def test_rows_that_are_not_finite_are_counted_and_a_sum_that_overflows_is_no_such_row() -> None:
    check_rows(student=torch.full((4, 2), 3e38))
    with pytest.raises(NotFiniteError, match=r"^teacher has NaN or infinity in 2 of 4 rows; expected finite values.$"):
        check_rows(
            student=torch.ones(4, 2), teacher=torch.tensor([[1, math.nan], [0, 0], [math.inf, math.nan], [0.0, 0]])
        )


def test_a_value_that_is_not_finite_is_put_down_to_what_it_compares() -> None:
    value = torch.tensor(2.0)
    assert check_value(value, student=value) is value
    student, teacher = torch.tensor([[2.0, -1e30]]), torch.tensor([[1e5]])
    with pytest.raises(ValueError, match=r"between student up to 1e\+30 and teacher up to 1e\+05 is beyond float32"):
        check_value(torch.tensor(math.inf), student=student, teacher=teacher)
    with pytest.raises(ValueError, match="teacher has NaN or infinity in 1 of 1 rows"):
        check_value(torch.tensor(math.nan), student=student, teacher=teacher * math.nan)


def test_nothing_is_looked_at_while_a_graph_is_compiled() -> None:
    def scaled(z: torch.Tensor) -> torch.Tensor:
        check_rows(z=z)
        return check_value(in_range(z, half_range(z, -1)).square().sum(), z=z)

    z = torch.tensor([[1e30, 3e30], [1.0, 2.0]], requires_grad=True)
    compiled = torch.compile(scaled, fullgraph=True, backend="aot_eager")(z)
    torch.testing.assert_close(compiled, scaled(z))
