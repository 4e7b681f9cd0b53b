"""Losses between the embeddings of one sample, through a learned connector where their widths differ."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdot.losses._inputs import Inputs, check_positive, check_width, full_precision, no_loss
from pkdot.structure import unit_rows


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""FitNets' hint: mean squared difference between embeddings.

    .. math:: \frac{1}{Bd} \sum_{ij} (s_{ij} - t_{ij})^2

    Romero et al., ICLR 2015 (arXiv 1412.6550). Use it where the student is wide enough to hold what the teacher knows,
    also for regression; it asks for the teacher's very coordinates, and :class:`HintLoss` learns the translation.

    Args:
        student: ``(*, B, d)`` embeddings, which get the gradient.
        teacher: ``(*, B, d)`` embeddings, detached.

    Returns:
        A scalar in squared units of the embedding, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes differ or values are not finite.
    """
    check_width(student, teacher)
    return _squared_difference(student, teacher) if student.numel() else no_loss(student)


def cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""One minus the cosine between the embeddings of a sample.

    .. math:: \frac1B \sum_i \Big(1 - \frac{\langle s_i, t_i \rangle}{\|s_i\| \, \|t_i\|}\Big)

    Half the squared distance between unit vectors; the alignment loss of MT-PKDOT (arXiv 2408.09035). Use it like
    :func:`hint_loss` where the length of an embedding means nothing. A zero row has the cosine 0 and no gradient.

    Args:
        student: ``(*, B, d)`` embeddings, which get the gradient.
        teacher: ``(*, B, d)`` embeddings, detached.

    Returns:
        A scalar in [0, 2], in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes differ or values are not finite.
    """
    check_width(student, teacher)
    return _cosine(student, teacher) if student.numel() else no_loss(student)


def vid_loss(mean: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    r"""Variational information distillation: how surprising the teacher's embedding is to the student.

    .. math:: \frac{1}{2Bd} \sum_{ij} \frac{(\mu_j(s_i) - t_{ij})^2}{\sigma_j^2} + \log \sigma_j^2

    Ahn et al., CVPR 2019 (arXiv 1904.05835). A learned variance lets the student give up on coordinates that it cannot
    know, such as those that only the privileged modality tells. :class:`VIDLoss` learns both.

    Args:
        mean: ``(*, B, d)``, the student's guess of the teacher's embedding, which gets the gradient.
        teacher: ``(*, B, d)`` embeddings, detached.
        variance: ``(d,)``, positive.

    Returns:
        A scalar, in float32 at least, that may be negative; 0 for an empty batch.

    Raises:
        ValueError: shapes differ or values are not finite.
    """
    check_width(mean, teacher)
    return _surprise(mean, teacher, variance) if mean.numel() else no_loss(mean)


@full_precision
def _squared_difference(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().mean()


@full_precision
def _cosine(student: Tensor, teacher: Tensor) -> Tensor:
    return 1 - (unit_rows(student) * unit_rows(teacher)).sum(-1).mean()


@full_precision
def _surprise(mean: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    return ((mean - teacher).square() / variance + variance.log()).mean() / 2


def connector(student_width: int | None, teacher_width: int | None) -> nn.Module:
    """A learned linear map between widths; the identity for None and None.

    Raises:
        ValueError: one width without the other, or one below 1.
    """
    if student_width is None and teacher_width is None:
        return nn.Identity()
    if student_width is None or teacher_width is None or min(student_width, teacher_width) < 1:
        raise ValueError(
            f"student_width is {student_width} and teacher_width {teacher_width}; expected both, of at least 1, for a "
            "learned connector, or neither."
        )
    return nn.Linear(student_width, teacher_width)


class HintLoss(nn.Module):
    """:func:`hint_loss` after a learned connector: its parameters belong to the optimiser.

    Args:
        student_width: of the student's embedding; None compares the embeddings themselves.
        teacher_width: of the teacher's.
    """

    inputs: ClassVar[Inputs] = "embedding"

    def __init__(self, *, student_width: int | None = None, teacher_width: int | None = None) -> None:
        super().__init__()
        self.connector = connector(student_width, teacher_width)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``(*, B, ds)`` and ``(*, B, dt)`` to a scalar."""
        return hint_loss(self.connector(student), teacher)


class CosineLoss(nn.Module):
    """:func:`cosine_loss` after a learned connector, as in :class:`HintLoss`."""

    inputs: ClassVar[Inputs] = "embedding"

    def __init__(self, *, student_width: int | None = None, teacher_width: int | None = None) -> None:
        super().__init__()
        self.connector = connector(student_width, teacher_width)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``(*, B, ds)`` and ``(*, B, dt)`` to a scalar."""
        return cosine_loss(self.connector(student), teacher)


class VIDLoss(nn.Module):
    r""":func:`vid_loss` with a learned mean, three linear maps with ReLU between, and a learned variance a coordinate.

    Args:
        student_width: of the student's embedding.
        teacher_width: of the teacher's.
        hidden: width between the maps; the teacher's if None.
        initial_variance: of every coordinate; 5 as in the authors' code.
    """

    inputs: ClassVar[Inputs] = "embedding"

    def __init__(
        self, *, student_width: int, teacher_width: int, hidden: int | None = None, initial_variance: float = 5.0
    ) -> None:
        super().__init__()
        check_positive("initial_variance", initial_variance)
        hidden = hidden or teacher_width
        self.mean = nn.Sequential(
            nn.Linear(student_width, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, teacher_width, bias=False),
        )
        self.smallest_variance = 1e-5
        scale = math.log(math.expm1(initial_variance - self.smallest_variance))
        self.log_scale = nn.Parameter(torch.full((teacher_width,), scale))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``(*, B, ds)`` and ``(*, B, dt)`` to a scalar."""
        return vid_loss(self.mean(student), teacher, functional.softplus(self.log_scale) + self.smallest_variance)
