"""MT-PKDOT: structural distillation from the best of several teachers."""

from typing import Any, Literal, get_args

import torch
from einops import rearrange
from torch import Tensor

from pkdot.checks import check_choice, check_not_negative
from pkdot.distributed import gather_with_gradient
from pkdot.losses._inputs import check_pair, full_precision, gather_pair, no_loss
from pkdot.losses.base import DistillationLoss
from pkdot.losses.ot import OTDistillLoss
from pkdot.precision import at_least_float32
from pkdot.structure import unit_rows

Choice = Literal["batch", "sample"]


def choose_teacher(errors: Tensor, labelled: Tensor | None = None, *, choice: Choice = "batch") -> Tensor:
    """Choose the teacher with the smallest task loss, for the whole batch or for each sample.

    ``batch`` is the published choice: one teacher for all samples, by the total loss of the labelled ones. The last
    teacher, the joint one, wins ties, and also teaches unlabelled samples under ``sample``.

    Args:
        errors: ``(K, B)`` task losses of K teachers.
        labelled: ``(B,)`` bool, the samples whose losses are known; None means all.
        choice: ``batch`` or ``sample``.

    Returns:
        ``(B,)`` int64, 0 to K - 1.

    Raises:
        ValueError: shapes do not fit, or ``choice`` is unknown.

    >>> errors = torch.tensor([[0.1, 0.9, 0.9], [0.5, 0.5, 0.5]])
    >>> choose_teacher(errors), choose_teacher(errors, choice="sample")
    (tensor([1, 1, 1]), tensor([0, 1, 1]))
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

    The centroid term of MT-PKDOT (arXiv 2408.09035): each sample becomes as central in the student's batch as it is in
    the teacher's. It is a norm, not a squared norm, so that the gradient does not vanish near the minimum.

    Args:
        student: ``(*, B, ds)`` embeddings, which get the gradient.
        teacher: ``(*, B, dt)`` embeddings, detached.

    Returns:
        A scalar, in float32 at least; 0 for an empty batch.

    Raises:
        ValueError: shapes do not fit or values are not finite.

    >>> centroid_loss(torch.eye(4), torch.eye(4)[[0, 0, 1, 1]])
    tensor(0.5000)
    """
    check_pair(student, teacher)
    return _centroid_distance(student, teacher) if student.numel() else no_loss(student)


@full_precision
def _centroid_distance(student: Tensor, teacher: Tensor) -> Tensor:
    unit_s, unit_t = unit_rows(student), unit_rows(teacher)
    profile_s, profile_t = ((unit @ unit.mean(-2)[..., None])[..., 0] for unit in (unit_s, unit_t))
    distance: Tensor = torch.linalg.vector_norm(profile_s - profile_t, dim=-1)
    return distance.mean()


class MultiTeacherOTLoss(DistillationLoss):
    r"""MT-PKDOT over the global batch: optimal transport to the chosen teachers' structure, and the centroid term.

    .. math:: \mathrm{OT}(s, t^*) + w \, \| c^{T^*} - c^S \|_2

    with the teacher :math:`t^*` from :func:`choose_teacher`. Aslam et al. (arXiv 2408.09035). The teachers are the
    joint one and one per modality. Their embeddings are aligned with the joint one (:mod:`pkdot.training.alignment`),
    so that embeddings from different teachers can be compared in one structure matrix. Use it if single modalities are
    sometimes better than their fusion.

    Args:
        choice: ``batch``, as published, or ``sample``.
        centroid: w, the weight of the centroid term.
        gather: use the samples of all processes.
        **settings: of :class:`pkdot.losses.ot.OTSettings`.

    >>> loss = MultiTeacherOTLoss(topk=2, choice="sample")
    >>> z, errors = torch.eye(4), torch.tensor([[0.1] * 4, [0.9] * 4])
    >>> loss(z, z.flip(0), teachers=torch.stack([z, z.flip(0)]), errors=errors).abs() < 1e-6
    tensor(True)
    """

    needs = ("teachers", "errors", "labelled")
    temperature_unit = "similarity"
    several_teachers = True

    @classmethod
    def accepted_settings(cls) -> dict[str, Any]:
        """The settings of :class:`pkdot.losses.ot.OTDistillLoss` too."""
        return OTDistillLoss.accepted_settings() | super().accepted_settings()

    def __init__(
        self, *, choice: Choice = "batch", centroid: float = 1.0, gather: bool = True, **settings: Any
    ) -> None:
        super().__init__()
        check_choice("choice", choice, get_args(Choice))
        check_not_negative(centroid=centroid)
        self.choice, self.centroid, self.gather = choice, centroid, gather
        self.transport = OTDistillLoss(gather=False, **settings)

    @classmethod
    def released(cls) -> "MultiTeacherOTLoss":
        """Return the loss with the published settings: one teacher per batch, 30 farthest anchors, shifted, blur 0.1.

        Its authors weight the task loss with 0.8, the transport and the centroid term with 0.2 each.
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
        """Compute the loss, a scalar.

        Args:
            student: ``(B, ds)``.
            teacher: ``(B, dt)`` embeddings of the joint teacher, which is the only teacher if ``teachers`` is None.
            teachers: ``(K, B, dt)`` aligned embeddings, the joint teacher last.
            errors: ``(K, B)`` task losses of the teachers.
            labelled: ``(B,)`` bool, the samples whose losses are known.
        """
        # Convert once for both terms, so that their gradients are added in single precision.
        student = at_least_float32(student)
        if teachers is None or errors is None:
            teachers, errors = teacher[None], torch.zeros_like(teacher[None, :, 0])
        if labelled is None:
            labelled = torch.ones_like(errors[0], dtype=torch.bool)
        if self.gather:
            labelled = gather_with_gradient(labelled)
            errors = rearrange(gather_with_gradient(rearrange(errors, "k b -> b k").contiguous()), "b k -> k b")
            samples = rearrange(teachers, "k b d -> b k d").contiguous()
            teachers = rearrange(gather_with_gradient(samples), "b k d -> k b d")
            student, _ = gather_pair(student, teacher)
        chosen = choose_teacher(errors.detach(), labelled, choice=self.choice)
        best = teachers[chosen, torch.arange(len(chosen), device=chosen.device)]
        loss: Tensor = self.transport(student, best)
        if self.centroid > 0:
            loss = loss + self.centroid * centroid_loss(student, best)
        return loss
