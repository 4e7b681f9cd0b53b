"""No distillation: the control."""

from typing import ClassVar, Literal

from torch import Tensor, nn

from pkdot.losses._inputs import no_loss


class NoLoss(nn.Module):
    """Zero, with a zero gradient: trains the student as if there were no teacher."""

    inputs: ClassVar[Literal["embedding", "prediction"]] = "embedding"

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Two tensors of any shape to the scalar 0."""
        return no_loss(student)
