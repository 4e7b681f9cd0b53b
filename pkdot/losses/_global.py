"""Losses that compare samples with each other, and therefore need those of all processes."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from pkdot.losses._inputs import gather_pair


class GlobalBatchLoss(nn.Module, ABC):
    """A loss over the global batch: :meth:`compare` sees the samples of every process, with the exact gradient.

    Args:
        gather: False compares this process's samples only.
    """

    def __init__(self, *, gather: bool = True) -> None:
        super().__init__()
        self.gather = gather

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``(*, B, ds)`` and ``(*, B, dt)`` to a scalar."""
        if self.gather:
            student, teacher = gather_pair(student, teacher)
        return self.compare(student, teacher)

    @abstractmethod
    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of the whole batch."""
