"""Losses that ask for correlation instead of equality."""

import warnings

import torch
from torch import Tensor

from pkdot.checks import check_not_negative, check_positive
from pkdot.losses._inputs import check_outputs, full_precision, no_loss
from pkdot.losses.base import GlobalBatchLoss
from pkdot.precision import half_range, in_range


def pearson_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""One minus the correlation of each output with the teacher's, over the batch.

    .. math:: 1 - \frac1C \sum_c \rho(z^S_{\cdot c}, z^T_{\cdot c})

    The intra-class half of DIST (Huang et al., NeurIPS 2022, arXiv 2205.10536) on the outputs themselves. It ignores
    scale and offset: use it for regression outputs, together with a task loss that fixes both, or on embeddings whose
    columns correspond. A constant column has correlation 0.

    Args:
        student: ``(*, B, C)``, which gets the gradient.
        teacher: ``(*, B, C)``, detached.

    Returns:
        A scalar in [0, 2], in float32 at least; 0 for fewer than two samples.

    Raises:
        ValueError: shapes differ or values are not finite.

    >>> teacher = torch.tensor([[1.0], [2.0], [4.0]])
    >>> round(float(pearson_loss(10 * teacher + 3, teacher)), 4), round(float(pearson_loss(-teacher, teacher)), 4)
    (0.0, 2.0)
    """
    check_outputs(student, teacher)
    return _intra(student, teacher) if student.shape[-2] > 1 else no_loss(student)


def dist_loss(
    student: Tensor, teacher: Tensor, *, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0
) -> Tensor:
    r"""DIST: correlation between the probabilities of each sample, and of each class over the batch.

    .. math::
        T^2 \Big[ \beta \big(1 - \tfrac1B \sum_i \rho(p^S_{i \cdot}, p^T_{i \cdot})\big)
        + \gamma \big(1 - \tfrac1C \sum_c \rho(p^S_{\cdot c}, p^T_{\cdot c})\big) \Big], \quad
        p = \mathrm{softmax}(z / T)

    Huang et al., NeurIPS 2022 (arXiv 2205.10536), with the defaults of its authors. Use it if the teacher is much
    stronger than the student, so that the student cannot reach equality. With two classes every correlation within a
    sample is 1 or -1 and has no gradient: that half is left out, with a warning.

    Args:
        student: ``(*, B, C)`` logits, which get the gradient.
        teacher: ``(*, B, C)`` logits, detached.
        beta: weight of the correlation within a sample.
        gamma: weight of the correlation within a class.
        temperature: T, in units of the logits.

    Returns:
        A scalar, in float32 at least. A single sample has no correlation within a class.

    Raises:
        ValueError: shapes differ, there are fewer than two classes, values are not finite, or a setting is out of
            range.

    Warns:
        RuntimeWarning: there are two classes.

    >>> teacher = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 2.0]])
    >>> round(float(dist_loss(teacher + 5, teacher)), 4), bool(dist_loss(-teacher, teacher) > 2)
    (0.0, True)
    """
    check_positive(temperature=temperature)
    check_not_negative(beta=beta, gamma=gamma)
    check_outputs(student, teacher, classes=2)
    if student.shape[-1] == 2:
        warnings.warn(
            "dist has two classes: every correlation within a sample is 1 or -1, so that only the correlation over the "
            "batch is distilled.",
            RuntimeWarning,
            stacklevel=2,
        )
        beta = 0.0
    return _dist(student, teacher, beta, gamma, temperature) if student.shape[-2] else no_loss(student)


@full_precision
def _dist(student: Tensor, teacher: Tensor, beta: float, gamma: float, temperature: float) -> Tensor:
    p_s, p_t = (student / temperature).softmax(-1), (teacher / temperature).softmax(-1)
    inter = 1 - _correlation(p_s, p_t).mean()
    intra = _intra(p_s, p_t) if p_s.shape[-2] > 1 else no_loss(p_s)
    return temperature**2 * (beta * inter + gamma * intra)


@full_precision
def _intra(student: Tensor, teacher: Tensor) -> Tensor:
    return 1 - _correlation(student.mT, teacher.mT).mean()


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation along the last dimension; 0 if one side is constant."""
    x, y = (in_range(z, half_range(z, -1)) for z in (x, y))
    # Test the values, not the deviations: after rounding, equal numbers have deviations that are pure noise.
    alive = (x != x[..., :1]).any(-1) & (y != y[..., :1]).any(-1)
    x, y = (torch.where(alive.unsqueeze(-1), z - z.mean(-1, keepdim=True), 1.0) for z in (x, y))
    return torch.where(alive, torch.nn.functional.cosine_similarity(x, y, dim=-1), 0.0)


class PearsonLoss(GlobalBatchLoss):
    """:func:`pearson_loss` over the global batch.

    >>> PearsonLoss()(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [3.0]]))
    tensor(0.)
    """

    inputs = "prediction"
    task = "regression"

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of two ``(*, B, C)``, a scalar."""
        return pearson_loss(student, teacher)


class DISTLoss(GlobalBatchLoss):
    """:func:`dist_loss` over the global batch.

    >>> DISTLoss(gamma=0.0, temperature=2.0)(torch.eye(3), torch.eye(3)).abs() < 1e-6
    tensor(True)
    """

    inputs = "prediction"
    task = "classes"

    def __init__(self, *, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0, gather: bool = True) -> None:
        super().__init__(gather=gather)
        check_positive(temperature=temperature)
        check_not_negative(beta=beta, gamma=gamma)
        self.beta, self.gamma, self.temperature = beta, gamma, temperature

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of two ``(*, B, C)``, a scalar."""
        return dist_loss(student, teacher, beta=self.beta, gamma=self.gamma, temperature=self.temperature)
