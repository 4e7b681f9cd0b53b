"""Contrastive representation distillation."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdot.checks import check_count, check_positive
from pkdot.distributed import gather_with_gradient
from pkdot.losses._inputs import check_pair, no_loss
from pkdot.losses.base import DistillationLoss
from pkdot.precision import at_least_float32, check_value
from pkdot.structure import unit_rows

_SMALLEST = 1e-7


def crd_loss(student: Tensor, teacher: Tensor, *, samples: int) -> Tensor:
    r"""Contrastive loss: tell the student-teacher pair of one sample from pairs of different samples.

    .. math::
        -\frac1B \sum_i \Big[ \log \frac{p_{i0}}{p_{i0} + K / n} + \sum_{j=1}^K \log \frac{K / n}{p_{ij} + K / n} \Big]

    with the student's scores p against the stored teacher vectors, plus the same with the teacher's scores against
    the stored student vectors. Column 0 is the sample itself, the others are the K negatives. Tian et al., ICLR 2020
    (arXiv 1910.10699). :class:`CRDLoss` stores the vectors and computes the scores.

    Args:
        student: ``(B, 1 + K)`` positive scores; their gradient flows into the student.
        teacher: ``(B, 1 + K)`` positive scores; their gradient flows into the layer that embeds the teacher.
        samples: n, the number of stored vectors.

    Returns:
        A scalar, in the precision of the scores; 0 for an empty batch.

    >>> right, wrong = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.1, 0.9]])
    >>> bool(crd_loss(right, right, samples=10) < crd_loss(wrong, wrong, samples=10))
    True
    """
    if not student.numel():
        return no_loss(student)
    return _contrast(student, samples) + _contrast(teacher, samples)


def _contrast(scores: Tensor, samples: int) -> Tensor:
    expected = (scores.shape[-1] - 1) / samples
    own, others = scores[:, :1], scores[:, 1:]
    found = (own / (own + expected + _SMALLEST)).log().sum()
    rejected = (expected / (others + expected + _SMALLEST)).log().sum()
    return -(found + rejected) / len(scores)


class CRDLoss(DistillationLoss):
    r""":func:`crd_loss` with stored vectors: for each training sample one of the student and one of the teacher.

    Scores are :math:`e^{\langle \cdot, \cdot \rangle / \tau} / Z` between learned linear embeddings of length 1. Z is
    set on the first batch, so that the mean score is 1 / n. The stored vectors are moving averages of the embeddings,
    in buffers: they are saved with the module, so that a run can resume. The loss needs the position of each sample
    among the training samples. Use it with thousands of samples, also without labels and for regression; with few
    samples, most negatives are close to the sample itself.

    Args:
        student_width: width of the student's embedding.
        teacher_width: width of the teacher's embedding.
        samples: n, the number of training samples.
        width: width of the learned embeddings; 128 as in the paper.
        negatives: K, drawn in each step, with replacement; 16384 as in the authors' code.
        temperature: :math:`\tau`; 0.07 as in the authors' code.
        momentum: share of the old vector that is kept when a stored vector is updated; 0.5 as in the authors' code.
        gather: use the samples of all processes. Their random generators must draw the same negatives.

    >>> _ = torch.manual_seed(0)
    >>> loss = CRDLoss(student_width=4, teacher_width=6, samples=100, negatives=8)
    >>> bool(loss(torch.ones(2, 4), torch.ones(2, 6), index=torch.tensor([3, 7])).isfinite())
    True
    """

    needs = ("index",)

    student_memory: Tensor
    teacher_memory: Tensor
    normaliser: Tensor

    def __init__(
        self,
        *,
        student_width: int,
        teacher_width: int,
        samples: int,
        width: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        gather: bool = True,
    ) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        check_count(samples=samples, width=width, negatives=negatives)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum}; expected a number in [0, 1).")
        self.negatives, self.temperature, self.momentum, self.gather = negatives, temperature, momentum, gather
        self.embed_student, self.embed_teacher = nn.Linear(student_width, width), nn.Linear(teacher_width, width)
        spread = 1 / math.sqrt(width / 3)
        for name in ("student_memory", "teacher_memory"):
            self.register_buffer(name, torch.empty(samples, width).uniform_(-spread, spread))
        self.register_buffer("normaliser", torch.zeros(2))

    def forward(self, student: Tensor, teacher: Tensor, *, index: Tensor, negatives: Tensor | None = None) -> Tensor:
        """Compute the loss, a scalar, and move the stored vectors towards the batch.

        Args:
            student: ``(B, ds)``.
            teacher: ``(B, dt)``.
            index: ``(B,)`` int64, positions of the samples among the training samples.
            negatives: ``(B, K)`` int64, positions of the negatives; drawn if None.
        """
        check_pair(student, teacher)
        samples = len(self.student_memory)
        if index.shape != student.shape[:1] or (len(index) and not 0 <= int(index.min()) <= int(index.max()) < samples):
            raise ValueError(f"index has shape {tuple(index.shape)}; expected ({len(student)},), 0 to {samples - 1}.")
        with torch.autocast(student.device.type, enabled=False):
            own, other = self._embed(student, teacher)
            if self.gather:
                own, other, index = (gather_with_gradient(z) for z in (own, other, index))
            if negatives is None:
                negatives = torch.randint(samples, (len(index), self.negatives), device=index.device)
            contrast = torch.cat([index[:, None], negatives], -1)
            scores_s = self._scores(own, self.teacher_memory, contrast, 0)
            scores_t = self._scores(other, self.student_memory, contrast, 1)
            loss = crd_loss(scores_s, scores_t, samples=samples)
            self._update(self.student_memory, own, index)
            self._update(self.teacher_memory, other, index)
        return loss

    def _embed(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        dtype = self.embed_student.weight.dtype
        own = self.embed_student(at_least_float32(student).to(dtype))
        other = self.embed_teacher(teacher.detach().to(dtype))
        return unit_rows(check_value(own, student=student)), unit_rows(check_value(other, teacher=teacher))

    def _scores(self, embedded: Tensor, stored: Tensor, contrast: Tensor, which: int) -> Tensor:
        # Compute all products, then select some: gathering the vectors themselves would take more space.
        scores = ((embedded @ stored.clone().mT).gather(-1, contrast) / self.temperature).exp()
        if scores.numel() and not bool(self.normaliser[which] > 0):
            self.normaliser[which] = scores.detach().mean() * len(stored)
        return scores / self.normaliser[which].clone()

    @torch.no_grad()
    def _update(self, stored: Tensor, embedded: Tensor, index: Tensor) -> None:
        stored[index] = functional.normalize(self.momentum * stored[index] + (1 - self.momentum) * embedded, dim=-1)
