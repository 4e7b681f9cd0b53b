"""MT-PKDOT: structural distillation from the best of several teachers."""

from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from pkdot.distributed import gather_with_gradient
from pkdot.losses._inputs import Inputs, check_choice, check_pair, check_weights, full_precision, gather_pair, no_loss
from pkdot.losses.ot import OTDistillLoss
from pkdot.precision import at_least_float32
from pkdot.structure import unit_rows

Choice = Literal["batch", "sample"]


def choose_teacher(errors: Tensor, labelled: Tensor | None = None, *, choice: Choice = "batch") -> Tensor:
    """Which teacher each sample learns from: the one with the least task loss, over the batch or for itself.

    Ties, and samples that nothing is known of, go to the last teacher, the joint one. ``batch`` is the published
    choice: one teacher for all samples, by the mean over those with a label.

    Args:
        errors: ``(K, B)`` task losses of K teachers.
        labelled: ``(B,)`` bool, where they are known; None means everywhere.
        choice: ``batch`` or ``sample``.

    Returns:
        ``(B,)`` int64, 0 to K - 1.

    Raises:
        ValueError: shapes do not fit, or ``choice`` is unknown.
    """
    check_choice("choice", choice, get_args(Choice))
    if errors.dim() != 2 or not len(errors) or (labelled is not None and labelled.shape != errors.shape[1:]):
        raise ValueError(f"errors have shape {tuple(errors.shape)}; expected (K, B) of at least one teacher.")
    if labelled is None:
        labelled = torch.ones_like(errors[0], dtype=torch.bool)
    known = torch.where(labelled, errors, 0.0)
    if choice == "batch":
        known = known.sum(-1, keepdim=True).expand_as(errors)
    best: Tensor = len(errors) - 1 - known.flip(0).argmin(0)
    return best


def centroid_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Distance between the mean similarity profiles of student and teacher.

    .. math:: \| c^T - c^S \|_2, \qquad c_j = \frac1B \sum_i \cos(z_i, z_j)

    The centroid term of MT-PKDOT (arXiv 2408.09035): each sample shall be as central in the student's batch as in the
    teacher's. It is a norm and not its square, so that its gradient does not fade.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.

    Returns:
        A scalar, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit or values are not finite.
    """
    check_pair(student, teacher)
    return _centroid_distance(student, teacher) if student.numel() else no_loss(student)


@full_precision
def _centroid_distance(student: Tensor, teacher: Tensor) -> Tensor:
    profiles = ((unit @ unit.mean(-2).unsqueeze(-1)).squeeze(-1) for unit in (unit_rows(student), unit_rows(teacher)))
    distance: Tensor = torch.linalg.vector_norm(next(profiles) - next(profiles), dim=-1)
    return distance.mean()


class MultiTeacherOTLoss(nn.Module):
    r"""MT-PKDOT over the global batch: optimal transport to the chosen teachers' structure, and the centroid term.

    .. math:: \mathrm{OT}(s, t^*) + w \, \| c^{T^*} - c^S \|_2

    with the teacher :math:`t^*` that :func:`choose_teacher` picks. Aslam et al. (arXiv 2408.09035). The teachers are
    the joint one and one for each modality, whose embeddings were aligned with the joint one's
    (:mod:`pkdot.training.alignment`): only then can samples of different teachers stand in one structure matrix. Use
    it where single modalities are sometimes better than their fusion.

    Args:
        choice: ``batch``, as published, or ``sample``.
        centroid: w, the weight of the centroid term beside the transport.
        gather: see the other processes' samples.
        **settings: of :class:`pkdot.losses.ot.OTDistillLoss`.
    """

    inputs: ClassVar[Inputs] = "embedding"
    needs: ClassVar[tuple[str, ...]] = ("teachers", "errors", "labelled")

    def __init__(
        self, *, choice: Choice = "batch", centroid: float = 1.0, gather: bool = True, **settings: Any
    ) -> None:
        super().__init__()
        check_choice("choice", choice, get_args(Choice))
        check_weights(centroid=centroid)
        self.choice, self.centroid, self.gather = choice, centroid, gather
        self.transport = OTDistillLoss(gather=False, **settings)

    @classmethod
    def released(cls) -> "MultiTeacherOTLoss":
        """The published settings: 30 farthest anchors, shifted, blur 0.1, the batch's best teacher, equal weights.

        Its authors add a quarter of it to the task loss, 0.8 to 0.2 and 0.2.
        """
        return cls(choice="batch", centroid=1.0, topk=30, select="farthest", shift="min", blur=0.1)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        teachers: Tensor | None = None,
        errors: Tensor | None = None,
        labelled: Tensor | None = None,
    ) -> Tensor:
        """A scalar.

        Args:
            student: ``(B, ds)``.
            teacher: ``(B, dt)``, the joint teacher's: all there is to choose from if ``teachers`` is None.
            teachers: ``(K, B, dt)`` aligned embeddings, the joint teacher's last.
            errors: ``(K, B)``, their task losses.
            labelled: ``(B,)`` bool, where these are known.
        """
        # Once for both terms: their gradients add up in single precision.
        student = at_least_float32(student)
        if teachers is None or errors is None:
            teachers, errors = teacher.unsqueeze(0), torch.zeros_like(teacher[..., 0]).unsqueeze(0)
        if labelled is None:
            labelled = torch.ones_like(errors[0], dtype=torch.bool)
        if self.gather:
            errors, labelled = gather_with_gradient(errors.mT.contiguous()).mT, gather_with_gradient(labelled)
            teachers = gather_with_gradient(teachers.movedim(1, 0).contiguous()).movedim(0, 1)
            student, _ = gather_pair(student, teacher)
        chosen = choose_teacher(errors.detach(), labelled, choice=self.choice)
        best = teachers[chosen, torch.arange(len(chosen), device=chosen.device)]
        loss: Tensor = self.transport(student, best)
        if self.centroid > 0:
            loss = loss + self.centroid * centroid_loss(student, best)
        return loss
