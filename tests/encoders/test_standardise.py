import torch

from pkdot.encoders.standardise import RunningStandardise


def test_many_batches_give_the_statistics_of_all_values() -> None:
    x = torch.randn(50, 3, 7, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [1e-5], [300.0]]) + 5
    standardise = RunningStandardise(3)
    for batch in x.split([1, 20, 8, 21]):
        standardise(batch)
    mean, deviation = x.mean((0, 2), keepdim=True), x.std((0, 2), keepdim=True, correction=0)
    expected = (x - mean) / deviation
    torch.testing.assert_close(standardise.eval()(x)[:, ::2], expected[:, ::2], atol=1e-4, rtol=1e-4)


def test_a_tiny_unit_around_zero_is_standardised_too() -> None:
    x = 1e-9 * torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    assert abs(float(RunningStandardise(1)(x).std()) - 1) < 0.02


def test_eval_leaves_the_statistics_alone() -> None:
    standardise = RunningStandardise(2)
    standardise(torch.randn(8, 2))
    before = {name: value.clone() for name, value in standardise.state_dict().items()}
    standardise.eval()(torch.randn(8, 2) + 10)
    assert all(torch.equal(value, before[name]) for name, value in standardise.state_dict().items())


def test_what_never_varied_becomes_zero_in_training() -> None:
    standardise = RunningStandardise(1)
    assert not standardise(torch.full((5, 1), 1e4 / 3)).any()
    assert float(standardise.eval()(torch.full((1, 1), 1e4 / 3 + 2))) < 3


def test_an_empty_batch_and_an_unused_module_stay_finite() -> None:
    standardise = RunningStandardise(2)
    assert standardise(torch.zeros(0, 2)).shape == (0, 2)
    assert standardise.eval()(torch.ones(3, 2)).isfinite().all()


def test_the_gradient_is_that_of_a_fixed_scale() -> None:
    standardise = RunningStandardise(1).double()
    standardise(torch.randn(9, 1, dtype=torch.float64))
    x = torch.randn(4, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(standardise.eval(), (x,))


def test_a_deviation_of_at_most_the_smallest_is_left_alone() -> None:
    x = 1e-5 * torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(RunningStandardise(1, smallest=1e-4)(x), x - x.mean())
