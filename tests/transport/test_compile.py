"""One operator, through which torch.compile passes without a break."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pkdot import OTDistillLoss, sinkhorn_divergence

FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "divergence": sinkhorn_divergence,
    "info": lambda x, y: sinkhorn_divergence(x, y, return_info=True)[0],
    "reach": lambda x, y: sinkhorn_divergence(x, y, reach=1.0),
    "loss": OTDistillLoss(topk=3),
    "released": OTDistillLoss.released(),
    "anchors": OTDistillLoss(topk=3, transport="anchors"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_whole_graph_compiles_and_gives_the_same(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(9, 4, generator=generator) for _ in range(2))
    x.requires_grad_()
    expected = FUNCTIONS[name](x, y)
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True, backend="aot_eager")(x, y)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(
        torch.autograd.grad(compiled, x)[0], torch.autograd.grad(expected, x)[0], rtol=1e-3, atol=1e-4
    )


def test_the_operator_keeps_its_contract() -> None:
    x, y = torch.randn(2, 5, 3), torch.randn(2, 4, 3)
    a, b = torch.full((2, 5), 0.2), torch.full((2, 4), 0.25)
    settings = (0.1, float("inf"), 1e-3, 100, 3, "auto", [True, False, True, False])
    torch.library.opcheck(torch.ops.pkdot.sinkhorn_divergence.default, (x, y, a, b, *settings))
