"""Contrastive representation distillation."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdot.distributed import gather_with_gradient
from pkdot.losses._inputs import Inputs, check_pair, check_positive, no_loss
from pkdot.precision import at_least_float32, check_value
from pkdot.structure import unit_rows

_SMALLEST = 1e-7


def crd_loss(student: Tensor, teacher: Tensor, *, samples: int) -> Tensor:
    r"""Tell the sample that student and teacher share from samples that they do not.

    .. math::
        -\frac1B \sum_i \Big[ \log \frac{p_{i0}}{p_{i0} + K / n} + \sum_{j=1}^K \log \frac{K / n}{p_{ij} + K / n} \Big]

    for the student's scores p against the teacher's memory, and the same for the teacher's against the student's;
    column 0 is the sample itself and the others are the K negatives. Tian et al., ICLR 2020 (arXiv 1910.10699).
    :class:`CRDLoss` keeps the memories and makes the scores.

    Args:
        student: ``(B, 1 + K)`` scores, positive; the student gets their gradient.
        teacher: ``(B, 1 + K)`` scores, positive. They, too, have a gradient: in what embeds the teacher.
        samples: n, in the memories.

    Returns:
        A scalar, in the precision of the scores; 0 for an empty batch.
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


class CRDLoss(nn.Module):
    r""":func:`crd_loss` with its memories: one unit vector a training sample and model, moving averages of both.

    Scores are :math:`e^{\langle \cdot, \cdot \rangle / \tau} / Z` between learned linear embeddings of length 1, with
    the mean Z of the first batch. The memories are buffers: saved with the module, a run goes on where it stopped.
    Needs the position of each sample among the training samples. Use it with thousands of samples, also without
    labels and for regression; with few, most negatives are near neighbours of the sample.

    Args:
        student_width: of the student's embedding.
        teacher_width: of the teacher's.
        samples: n, of the training split.
        width: of the embedded vectors; 128 as in the paper.
        negatives: K, drawn anew in each step, with replacement; 16384 as in the authors' code.
        temperature: :math:`\tau`; 0.07 as in the authors' code.
        momentum: share of the old vector that a memory keeps; 0.5 as in the authors' code.
        gather: see the other processes' samples. Their generators must draw the same negatives.
    """

    inputs: ClassVar[Inputs] = "embedding"
    needs: ClassVar[tuple[str, ...]] = ("index",)

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
        check_positive("temperature", temperature)
        for name, number in (("samples", samples), ("width", width), ("negatives", negatives)):
            check_positive(name, number)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum}; expected a number in [0, 1).")
        self.negatives, self.temperature, self.momentum, self.gather = negatives, temperature, momentum, gather
        self.embed_student, self.embed_teacher = nn.Linear(student_width, width), nn.Linear(teacher_width, width)
        spread = 1 / math.sqrt(width / 3)
        for memory in ("student_memory", "teacher_memory"):
            self.register_buffer(memory, torch.empty(samples, width).uniform_(-spread, spread))
        self.register_buffer("normaliser", torch.zeros(2))

    def forward(self, student: Tensor, teacher: Tensor, *, index: Tensor, negatives: Tensor | None = None) -> Tensor:
        """A scalar; the memories then move towards the batch.

        Args:
            student: ``(B, ds)``.
            teacher: ``(B, dt)``.
            index: ``(B,)`` int64, the samples' positions in the memories.
            negatives: ``(B, K)`` int64, positions to contrast with; drawn if None.
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
            contrast = torch.cat([index.unsqueeze(-1), negatives], -1)
            scores_s = self._scores(own, self.teacher_memory, contrast, 0)
            scores_t = self._scores(other, self.student_memory, contrast, 1)
            loss = crd_loss(scores_s, scores_t, samples=samples)
            self._remember(self.student_memory, own, index)
            self._remember(self.teacher_memory, other, index)
        return loss

    def _embed(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        dtype = self.embed_student.weight.dtype
        own = self.embed_student(at_least_float32(student).to(dtype))
        other = self.embed_teacher(teacher.detach().to(dtype))
        return unit_rows(check_value(own, student=student)), unit_rows(check_value(other, teacher=teacher))

    def _scores(self, embedded: Tensor, memory: Tensor, contrast: Tensor, which: int) -> Tensor:
        # All products and then a choice: fewer numbers than the chosen vectors would be.
        scores = ((embedded @ memory.clone().mT).gather(-1, contrast) / self.temperature).exp()
        if scores.numel() and not bool(self.normaliser[which] > 0):
            self.normaliser[which] = scores.detach().mean() * len(memory)
        return scores / self.normaliser[which].clone()

    @torch.no_grad()
    def _remember(self, memory: Tensor, embedded: Tensor, index: Tensor) -> None:
        memory[index] = functional.normalize(self.momentum * memory[index] + (1 - self.momentum) * embedded, dim=-1)
