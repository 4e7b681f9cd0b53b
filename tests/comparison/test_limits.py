"""The smallest and the largest that a comparison's settings may be, and the next beyond them."""

import pytest

from pkdot.comparison.config import FIRST_TUNE_SEED, CompareConfig


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("seeds", 1, FIRST_TUNE_SEED),
        ("first_seed", 0, FIRST_TUNE_SEED - 1),
        ("tune_seeds", 0, 10**6),
        ("jobs", 1, 4096),
        ("array", 1, 10**5),
        ("threads", 1, None),
    ],
)
def test_numbers_outside_their_limits_are_refused(field: str, low: int, high: int | None) -> None:
    usual = {"seeds": 1}
    CompareConfig(**{**usual, field: low})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=field):
        CompareConfig(**{**usual, field: low - 1})  # type: ignore[arg-type]
    if high is not None:
        CompareConfig(**{**usual, field: high})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=field):
            CompareConfig(**{**usual, field: high + 1})  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"tune": (0.0,)}, {"labels": (0.0,)}, {"labels": (1.01,)}, {"tune": ()}])
def test_factors_and_shares_outside_their_limits_are_refused(settings: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        CompareConfig(**settings)  # type: ignore[arg-type]
    CompareConfig(labels=(1e-6, 1.0), tune=(1e-9, 1e9))
    CompareConfig(tune=(), tune_seeds=0)


@pytest.mark.parametrize(("shard", "part"), [("1/1", (0, 1)), ("1/3", (0, 3)), ("3/3", (2, 3)), ("10/12", (9, 12))])
def test_a_shard_is_read_as_part_and_number_of_parts(shard: str, part: tuple[int, int]) -> None:
    assert CompareConfig(shard=shard).part() == part


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/", "/3", "a/b", "1/0", "-1/3", "1.0/3"])
def test_an_impossible_shard_is_refused(shard: str) -> None:
    with pytest.raises(ValueError, match="expected i/N"):
        CompareConfig(shard=shard)
