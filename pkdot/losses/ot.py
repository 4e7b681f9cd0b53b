"""Structural distillation by entropic optimal transport."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor

from pkdot.checks import check_choice, check_positive, settle_types
from pkdot.losses._inputs import anchor_count, check_pair, check_topk, no_loss
from pkdot.losses.base import GlobalBatchLoss
from pkdot.losses.structure import log_distributions, row_divergence, squared_difference
from pkdot.structure import AnchorSimilarities, Select, Shift, anchor_similarities, cosine_structure
from pkdot.transport.backends import BACKENDS
from pkdot.transport.divergence import sinkhorn_divergence
from pkdot.transport.histograms import histogram_divergence

Transport = Literal["rows", "anchors"]
Divergence = Literal["sinkhorn", "mse", "kl"]
Debias = bool | Literal["student"]

_BACKENDS_FOR_ANCHORS = ("auto", "torch")


@dataclass(frozen=True)
class OTSettings:
    r"""The settings of :class:`OTDistillLoss`, checked.

    Attributes:
        topk: anchors per sample: a whole number, or a float in (0, 1] for that share of the batch; at most B - 1.
        select: which columns of the teacher's structure matrix are anchors, see :func:`pkdot.structure.topk_anchors`.
        transport: ``rows`` solves one problem per batch, between two clouds of B points. ``anchors`` solves one problem
            per sample, between its two distributions over its own anchors.
        divergence: ``sinkhorn``. ``mse`` and ``kl`` are ablations: they compare the same similarities without
            transport, see :mod:`pkdot.losses.structure`.
        blur: scale of the entropy, :math:`\varepsilon = \text{blur}^2`; in units of cosine similarity for ``rows``, of
            unit vectors for ``anchors``.
        temperature: softmax temperature :math:`\tau` in units of cosine similarity, for ``anchors`` and ``kl``.
        shift: ``min`` subtracts the smallest entry of each structure matrix, as the published code does. It changes
            ``rows`` and ``mse`` only: a softmax does not see it.
        debias: subtract both self terms, so that equal structures have loss 0. ``student`` subtracts the student's
            self term only. This saves a third of the work and gives the same gradient; the value differs by a constant
            that depends on the teacher. For ``anchors``, ``student`` means True.
        tol: L1 marginal error at which a transport problem counts as solved.
        backend: solver of the transport problems, see :func:`pkdot.transport.divergence.sinkhorn_divergence`.
            ``torch`` solves problems over anchors; ``mse`` and ``kl`` need no solver.

    Raises:
        ValueError: a setting is unknown or out of range, or the backend cannot solve this kind of problem.

    >>> OTSettings(topk=8).select
    'stratified'
    >>> OTSettings(transport="anchors", backend="triton")
    Traceback (most recent call last):
    ValueError: backend is 'triton', which solves transport='rows' only; expected ...
    """

    topk: int | float = 0.125
    select: Select = "stratified"
    transport: Transport = "rows"
    divergence: Divergence = "sinkhorn"
    blur: float = 0.1
    temperature: float = 0.1
    shift: Shift = "none"
    debias: Debias = True
    tol: float = 1e-3
    backend: str = "auto"

    def __post_init__(self) -> None:
        settle_types(self)
        check_topk(self.topk)
        check_choice("backend", self.backend, BACKENDS)
        check_positive(blur=self.blur, temperature=self.temperature, tol=self.tol)
        if self.divergence != "sinkhorn" and self.backend != "auto":
            raise ValueError(
                f"backend is {self.backend!r}, but divergence {self.divergence!r} solves no transport problem; "
                "expected auto."
            )
        if self.transport == "anchors" and self.backend not in _BACKENDS_FOR_ANCHORS:
            raise ValueError(
                f"backend is {self.backend!r}, which solves transport='rows' only; expected auto or torch for "
                "transport='anchors'."
            )


def ot_distill_loss(student: Tensor, teacher: Tensor, **settings: Any) -> Tensor:
    r"""Match the structure of the student's batch to that of the teacher's by entropic optimal transport.

    Let :math:`S^S, S^T` be the structure matrices of student and teacher, and :math:`A_i` the anchors of sample i,
    which the teacher's matrix selects.

    ``transport="rows"``, the published PKDOT loss (arXiv 2401.15489): the Sinkhorn divergence between two clouds of B
    points,

    .. math:: S_\varepsilon(\{S^S_{i, A_i}\}_i, \{S^T_{i, A_i}\}_i), \qquad \varepsilon = \text{blur}^2.

    The transport plan may match any sample with any other sample.

    ``transport="anchors"``: one small problem per sample, between its two distributions over its anchors, at the
    teacher's distances between anchors,

    .. math::
        \frac1B \sum_i S_\varepsilon(p^S_i, p^T_i), \quad p_i = \mathrm{softmax}_{j \in A_i}(S_{ij} / \tau), \quad
        C_{jl} = \tfrac12 \| u^T_j - u^T_l \|^2, \quad u = z / \|z\|.

    Here sample i is compared with sample i only. Mass on a wrong anchor costs little if the teacher finds that anchor
    similar to the right one. It needs B cost matrices of k x k, or one if all samples share the anchors.

    ``benchmarks/results/methods/ablation.md`` compares the defaults with other settings. The anchors should cover the
    whole row: few anchors that are all near, or all far, lose much of the gain. Use the loss with few labels and many
    unlabelled pairs. With all labels expect no gain; where the pairs are trusted, :func:`pkdot.losses.kd_loss` and
    :func:`pkdot.losses.structure_kl_loss` are cheaper and often as good.

    The gradient flows into the student only. It is exact if the solver converged, and of first order.

    Args:
        student: ``(*, B, ds)`` embeddings.
        teacher: ``(*, B, dt)`` embeddings, detached. The widths may differ.
        **settings: of :class:`OTSettings`.

    Returns:
        A scalar, the mean over leading dimensions, in float32 at least, also under autocast; 0 for fewer than two
        samples.

    Raises:
        ValueError: shapes do not fit, values are not finite, or a setting is out of range.
        RuntimeError: the gradient is differentiated again.

    >>> teacher = torch.eye(6)[[0, 0, 1, 1, 2, 2]]
    >>> round(float(ot_distill_loss(teacher, teacher, topk=4)), 4)
    0.0
    >>> round(float(ot_distill_loss(teacher.roll(1, dims=0), teacher, topk=4, transport="anchors", select="shared")), 2)
    0.67
    """
    return _matched(student, teacher, _checked(**settings))


# A compiled graph holds the settings, not their checks.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _checked(**settings: Any) -> OTSettings:
    return OTSettings(**settings)


def _matched(student: Tensor, teacher: Tensor, settings: OTSettings) -> Tensor:
    check_pair(student, teacher)
    batch = student.shape[-2]
    if batch < 2:
        return no_loss(student)
    with torch.autocast(student.device.type, enabled=False):
        k = anchor_count(settings.topk, batch)
        kept = anchor_similarities(student, teacher, k, select=settings.select, shift=settings.shift)
        if settings.divergence == "sinkhorn" and settings.transport == "rows":
            return _transport_between_rows(kept, settings).mean()
        if settings.divergence == "sinkhorn":
            return _transport_over_anchors(kept, settings).mean()
        if settings.divergence == "mse":
            return squared_difference(kept)
        return row_divergence(kept, settings.temperature)


def _transport_between_rows(kept: AnchorSimilarities, settings: OTSettings) -> Tensor:
    """One problem per batch: ``(*)``."""
    # The teacher's self term has no gradient. If its value is not needed, 0 replaces it.
    no_self_term = kept.teacher.new_zeros(kept.teacher.shape[:-2]) if settings.debias == "student" else None
    return sinkhorn_divergence(
        kept.student,
        kept.teacher,
        blur=settings.blur,
        debias=bool(settings.debias),
        y_self=no_self_term,
        tol=settings.tol,
        backend=settings.backend,
    )


def _transport_over_anchors(kept: AnchorSimilarities, settings: OTSettings) -> Tensor:
    """One problem per sample: ``(* B)``."""
    p_s, p_t = (
        rearrange(log_distributions(z, kept.own, settings.temperature).exp(), "... b k -> (... b) k")
        for z in (kept.student, kept.teacher)
    )
    cost = _anchor_costs(kept, shared=settings.select == "shared")
    return histogram_divergence(p_s, p_t, cost, blur=settings.blur, debias=bool(settings.debias), tol=settings.tol)


def _anchor_costs(kept: AnchorSimilarities, *, shared: bool) -> Tensor:
    """Half squared distances between a sample's anchors in the teacher's space, ``(P B, k, k)`` or ``(1, k, k)``."""
    structure = cosine_structure(rearrange(kept.teacher_unit, "... b d -> (...) b d"))
    anchors = rearrange(kept.anchors, "... b k -> (...) b k")
    if shared and len(structure) == 1:
        anchors = anchors[:, :1]
    # A zero embedding has no length: its own similarity is 0, and the distance is read from the diagonal.
    own = structure.diagonal(dim1=-2, dim2=-1) / 2
    distances = (own[:, :, None] + own[:, None, :] - structure).clamp(min=0.0)
    distances.diagonal(dim1=-2, dim2=-1).zero_()
    problem = torch.arange(len(structure), device=structure.device)[:, None, None, None]
    costs = distances[problem, anchors[..., :, None], anchors[..., None, :]]
    return rearrange(costs, "p b j l -> (p b) j l")


class OTDistillLoss(GlobalBatchLoss):
    """:func:`ot_distill_loss` over the global batch: ``loss = task_loss + w * OTDistillLoss()(student, teacher)``.

    Args:
        gather: with several training processes, compare the structures of the samples of all processes. The batch is
            then the global one, and a share ``topk`` refers to it.

    All other parameters are described in :class:`OTSettings`.

    Raises:
        ValueError: a setting is out of range.

    >>> loss = OTDistillLoss(topk=4)
    >>> z = torch.eye(6)[[0, 0, 1, 1, 2, 2]]
    >>> float(loss(3 * z, z).abs()) < 1e-6
    True
    """

    temperature_unit = "similarity"

    def __init__(
        self,
        *,
        topk: int | float = OTSettings.topk,
        select: Select = OTSettings.select,
        transport: Transport = OTSettings.transport,
        divergence: Divergence = OTSettings.divergence,
        blur: float = OTSettings.blur,
        temperature: float = OTSettings.temperature,
        shift: Shift = OTSettings.shift,
        debias: Debias = OTSettings.debias,
        tol: float = OTSettings.tol,
        backend: str = OTSettings.backend,
        gather: bool = True,
    ) -> None:
        super().__init__(gather=gather)
        self.settings = OTSettings(topk, select, transport, divergence, blur, temperature, shift, debias, tol, backend)

    @classmethod
    def released(cls) -> "OTDistillLoss":
        """Return the loss with the settings of the published PKDOT code: 30 farthest anchors, shifted, blur 0.1."""
        return cls(topk=30, select="farthest", transport="rows", shift="min", blur=0.1)

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss of ``(*, B, ds)`` and ``(*, B, dt)``, a scalar."""
        return _matched(student, teacher, self.settings)

    def extra_repr(self) -> str:
        """Show the settings that differ from the defaults in ``print(model)``."""
        default = OTSettings()
        changed = {name: value for name, value in vars(self.settings).items() if value != getattr(default, name)}
        return ", ".join(f"{name}={value!r}" for name, value in changed.items())
