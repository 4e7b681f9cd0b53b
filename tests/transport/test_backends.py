"""Who solves a problem, and who takes over where Triton's kernels do not run."""

from typing import Any

import pytest
import torch

from pkdot.transport import torch_backend, triton_backend
from pkdot.transport.backends import pick
from pkdot.transport.problem import Clouds, Goal, Solution

TOL = 1e-4
PROBLEM = Clouds(torch.zeros(1, 3, 2), torch.ones(1, 3, 2), torch.full((1, 3), 1 / 3), torch.full((1, 3), 1 / 3))
GOAL = Goal(0.1, float("inf"), TOL, 100, 3)


def test_where_the_kernels_fail_torch_solves_and_one_warning_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail(*problem: Any) -> Solution:
        calls.append(problem)
        raise RuntimeError("at 1:2:\n    code") from TypeError("more code\ncannot convert")

    monkeypatch.setattr(triton_backend, "_failures", [])
    monkeypatch.setattr(triton_backend, "divergence", fail)
    wanted = [True] * 4
    with pytest.warns(RuntimeWarning, match=r"backend torch.*\(TypeError: cannot convert\)") as told:
        found = [triton_backend.divergence_or_torch(PROBLEM, GOAL, wanted) for _ in range(2)]
    assert (len(told), len(calls)) == (1, 1)
    right = torch_backend.divergence(PROBLEM, GOAL, wanted)
    for solution in found:
        torch.testing.assert_close(solution.value, right.value)
        torch.testing.assert_close(solution.gradients[0], right.gradients[0])


@pytest.mark.parametrize("error", [ValueError("not finite"), torch.OutOfMemoryError("no memory")])
def test_what_is_no_fault_of_the_kernels_is_raised(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*problem: Any) -> Solution:
        raise error

    monkeypatch.setattr(triton_backend, "_failures", [])
    monkeypatch.setattr(triton_backend, "divergence", fail)
    with pytest.raises(type(error)):
        triton_backend.divergence_or_torch(PROBLEM, GOAL, [True] * 4)
    assert triton_backend._failures == []


def test_auto_may_fall_back_and_triton_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_backend, "available", lambda: True)
    assert pick("auto", GOAL, device="cuda", entries=9) is triton_backend.divergence_or_torch
    assert pick("triton", GOAL, device="cuda", entries=9) is triton_backend.divergence
