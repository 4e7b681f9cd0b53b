"""Entropic transport between uniform clouds, in float64 and by other means than the package's."""

import warnings

import numpy as np
import ot
import torch
from torch import Tensor


def cost(x: Tensor, y: Tensor) -> Tensor:
    return (x.unsqueeze(-2) - y.unsqueeze(-3)).square().sum(-1) / 2


def pot_cost(x: Tensor, y: Tensor, eps: float) -> float:
    """Transport cost with entropy KL(P | a b), by POT in float64."""
    a, b = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
    matrix = cost(x, y).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = ot.sinkhorn(a, b, matrix, eps, stopThr=1e-9, numItermax=20_000)
    entropy = np.sum(plan * np.log(np.maximum(plan, 1e-300) / np.outer(a, b)))
    return float(np.sum(plan * matrix) + eps * entropy)


def unrolled_cost(x: Tensor, y: Tensor, eps: float, sweeps: int) -> Tensor:
    """Transport cost by plain log-domain iterations, differentiable through all of them."""
    scaled = cost(x, y) / eps
    log_a, log_b = -np.log(len(x)), -np.log(len(y))
    f, g = torch.zeros(len(x), dtype=x.dtype), torch.zeros(len(y), dtype=x.dtype)
    for _ in range(sweeps):
        f = -torch.logsumexp(log_b + g - scaled, dim=1)
        g = -torch.logsumexp(log_a + f[:, None] - scaled, dim=0)
    return eps * (f.mean() + g.mean())


def annealed_plan(x: Tensor, y: Tensor, eps: float) -> Tensor:
    """The plan by plain log-domain iterations at ever lower temperatures, in float64; checked to be solved."""
    matrix, log_a, log_b = cost(x, y), -np.log(len(x)), -np.log(len(y))
    f, g = torch.zeros(len(x), dtype=x.dtype), torch.zeros(len(y), dtype=x.dtype)
    for t in [eps * 2.0**step for step in range(15, 0, -1)] + [eps]:
        for _ in range(1000 if t == eps else 20):
            f = -t * torch.logsumexp((g - matrix) / t + log_b, dim=1)
            g = -t * torch.logsumexp((f[:, None] - matrix) / t + log_a, dim=0)
    plan = ((f[:, None] + g - matrix) / eps + log_a + log_b).exp()
    assert (plan.sum(1) - 1 / len(x)).abs().sum() < 3e-4
    return plan
