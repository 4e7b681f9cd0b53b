"""Losses between the two embeddings of a sample, with a learned connector if their widths differ."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdot.checks import check_positive
from pkdot.losses._inputs import check_width, full_precision, no_loss
from pkdot.losses.base import DistillationLoss
from pkdot.structure import unit_rows


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""FitNets' hint: mean squared difference between embeddings.

    .. math:: \frac{1}{Bd} \sum_{ij} (s_{ij} - t_{ij})^2

    Romero et al., ICLR 2015 (arXiv 1412.6550). Use it if the student can represent what the teacher knows, also for
    regression. It asks for the teacher's own coordinates; :class:`HintLoss` learns the translation.

    Args:
        student: ``(*, B, d)`` embeddings, which get the gradient.
        teacher: ``(*, B, d)`` embeddings, detached.

    Returns:
        A scalar in squared units of the embedding, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes differ or values are not finite.

    >>> hint_loss(torch.zeros(2, 3), torch.full((2, 3), 2.0))
    tensor(4.)
    """
    check_width(student, teacher)
    return _squared_difference(student, teacher) if student.numel() else no_loss(student)


def cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""One minus the cosine between the two embeddings of a sample.

    .. math:: \frac1B \sum_i \Big(1 - \frac{\langle s_i, t_i \rangle}{\|s_i\| \, \|t_i\|}\Big)

    Half the squared distance between unit vectors; the alignment loss of MT-PKDOT (arXiv 2408.09035). Use it instead of
    :func:`hint_loss` if the length of an embedding has no meaning. A zero row has cosine 0 and no gradient.

    Args:
        student: ``(*, B, d)`` embeddings, which get the gradient.
        teacher: ``(*, B, d)`` embeddings, detached.

    Returns:
        A scalar in [0, 2], in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes differ or values are not finite.

    >>> cosine_loss(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    tensor(1.)
    """
    check_width(student, teacher)
    return _cosine(student, teacher) if student.numel() else no_loss(student)


def vid_loss(mean: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    r"""Variational information distillation: negative log-likelihood of the teacher's embedding, up to a constant.

    .. math:: \frac{1}{2Bd} \sum_{ij} \frac{(\mu_j(s_i) - t_{ij})^2}{\sigma_j^2} + \log \sigma_j^2

    Ahn et al., CVPR 2019 (arXiv 1904.05835). With a learned variance the student can ignore coordinates that it cannot
    predict, such as those that depend on the privileged modality only. :class:`VIDLoss` learns mean and variance.

    Args:
        mean: ``(*, B, d)``, the teacher's embedding as predicted by the student, which gets the gradient.
        teacher: ``(*, B, d)`` embeddings, detached.
        variance: ``(d,)``, positive.

    Returns:
        A scalar, in float32 at least, that may be negative; 0 for an empty batch.

    Raises:
        ValueError: shapes differ or values are not finite.

    >>> vid_loss(torch.zeros(2, 3), torch.full((2, 3), 2.0), torch.ones(3))
    tensor(2.)
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
    """Return a learned linear map between widths, or the identity for None and None.

    Raises:
        ValueError: only one width is given, or one is below 1.

    >>> connector(4, 6)(torch.ones(2, 4)).shape
    torch.Size([2, 6])
    """
    if student_width is None and teacher_width is None:
        return nn.Identity()
    if student_width is None or teacher_width is None or min(student_width, teacher_width) < 1:
        raise ValueError(
            f"student_width is {student_width} and teacher_width {teacher_width}; expected both, of at least 1, for a "
            "learned connector, or neither."
        )
    return nn.Linear(student_width, teacher_width)


class HintLoss(DistillationLoss):
    """:func:`hint_loss` after a learned connector: its parameters belong to the optimiser.

    Args:
        student_width: width of the student's embedding; None compares the embeddings themselves.
        teacher_width: width of the teacher's embedding.

    >>> HintLoss(student_width=4, teacher_width=6)(torch.zeros(2, 4), torch.zeros(2, 6)) >= 0
    tensor(True)
    """

    def __init__(self, *, student_width: int | None = None, teacher_width: int | None = None) -> None:
        super().__init__()
        self.connector = connector(student_width, teacher_width)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        return hint_loss(self.connector(student), teacher)


class CosineLoss(DistillationLoss):
    """:func:`cosine_loss` after a learned connector, as in :class:`HintLoss`.

    >>> CosineLoss()(torch.eye(3), 2 * torch.eye(3))
    tensor(0.)
    """

    def __init__(self, *, student_width: int | None = None, teacher_width: int | None = None) -> None:
        super().__init__()
        self.connector = connector(student_width, teacher_width)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        return cosine_loss(self.connector(student), teacher)


class VIDLoss(DistillationLoss):
    r""":func:`vid_loss` with a learned mean, of three linear layers with ReLU, and a learned variance per coordinate.

    Args:
        student_width: width of the student's embedding.
        teacher_width: width of the teacher's embedding.
        hidden: width of the hidden layers; the teacher's if None.
        initial_variance: variance of every coordinate at the start; 5 as in the authors' code.

    >>> _ = torch.manual_seed(0)
    >>> round(VIDLoss(student_width=4, teacher_width=6)(torch.zeros(2, 4), torch.zeros(2, 6)).item(), 3)
    0.805
    """

    def __init__(
        self, *, student_width: int, teacher_width: int, hidden: int | None = None, initial_variance: float = 5.0
    ) -> None:
        super().__init__()
        check_positive(initial_variance=initial_variance)
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
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        return vid_loss(self.mean(student), teacher, functional.softplus(self.log_scale) + self.smallest_variance)
