"""What is predicted: size of the head, task loss, and how predictions are decoded and scored."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from pkdot.checks import settle_types
from pkdot.metrics import (
    accuracy,
    concordance,
    macro_f1,
    mean_absolute_error,
    pearson,
    quadratic_weighted_kappa,
    r_squared,
    root_mean_squared_error,
)
from pkdot.precision import at_least_float32, check_rows, check_value, half_range, in_range

TaskKind = Literal["classification", "ordinal", "regression"]
TaskLoss = Literal["auto", "cross-entropy", "corn", "ccc", "mse"]

LOSSES_OF_KIND: dict[str, tuple[TaskLoss, ...]] = {
    "classification": ("cross-entropy",),
    "ordinal": ("cross-entropy", "corn"),
    "regression": ("ccc", "mse"),
}
"""The task losses of each kind of target; "auto" means the first one."""


@dataclass(frozen=True)
class Task:
    """A prediction task.

    Attributes:
        kind: classification, ordinal (classes on a scale) or regression.
        targets: names of the target columns; regression may have several.
        classes: names of the classes, for ordinal in the order of the scale; empty for regression.
        loss: the task loss; "auto" is replaced by the usual loss of the kind.
        center, spread: of each regression target. The head predicts (target - center) / spread, and :meth:`decode`
            converts back; empty means 0 and 1.

    Raises:
        ValueError: kind, loss, number of targets and classes do not fit together.

    >>> task = Task("ordinal", ("pain",), ("none", "some", "much"))
    >>> task.head_size, task.loss, task.primary_metric
    (3, 'cross-entropy', 'qwk')
    """

    kind: TaskKind
    targets: tuple[str, ...]
    classes: tuple[str, ...] = ()
    loss: TaskLoss = "auto"
    center: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        settle_types(self)
        if self.kind == "regression":
            if not self.targets or self.classes:
                raise ValueError("a regression has at least one target and no classes.")
        elif len(self.targets) != 1 or len(set(self.classes)) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f"a {self.kind} task has one target and at least two different classes; "
                f"got targets {self.targets} and classes {self.classes}."
            )
        if {len(self.center), len(self.spread)} - {0, len(self.targets)}:
            raise ValueError(
                f"{len(self.targets)} targets have units {self.center} and {self.spread}; expected one per target."
            )
        if self.loss == "auto":
            object.__setattr__(self, "loss", LOSSES_OF_KIND[self.kind][0])
        elif self.loss not in LOSSES_OF_KIND[self.kind]:
            expected = " or ".join(LOSSES_OF_KIND[self.kind])
            raise ValueError(f"task loss {self.loss!r} does not fit a {self.kind} task; expected {expected}.")

    def with_loss(self, loss: TaskLoss) -> "Task":
        """Return the same task with another loss; "auto" is the usual loss of the kind."""
        return replace(self, loss=loss)

    def with_units(self, target: Tensor) -> "Task":
        """Return a regression whose head predicts ``(n, R)`` targets centred and scaled to standard deviation 1."""
        target = target.double()
        spread = target.std(0, correction=0)
        spread = torch.where(spread > 0, spread, 1.0)
        return replace(self, center=tuple(target.mean(0).tolist()), spread=tuple(spread.tolist()))

    def same_question(self, other: "Task") -> bool:
        """Return whether another task has the same targets, classes and loss; the units may differ."""
        return replace(self, center=(), spread=()) == replace(other, center=(), spread=())

    @property
    def head_size(self) -> int:
        """Width of the prediction: C, C - 1 for CORN, R for regression."""
        if self.kind == "regression":
            return len(self.targets)
        return len(self.classes) - (self.loss == "corn")

    @property
    def primary_metric(self) -> str:
        """The metric by which models are selected; higher is better."""
        return {"classification": "accuracy", "ordinal": "qwk", "regression": "ccc"}[self.kind]

    def task_loss(self, prediction: Tensor, target: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Mean loss over the labelled samples; 0 with a zero gradient if there is none.

        Args:
            prediction: ``(B, head_size)``.
            target: ``(B,)`` int64, or ``(B, R)`` for regression; unlabelled rows are ignored.
            labelled: ``(B,)`` bool; None means all.

        Raises:
            ValueError: shapes do not fit the task or each other, values are not finite, or a squared error overflows.
        """
        expected = (len(prediction), self.head_size)
        answers = expected if self.kind == "regression" else expected[:1]
        if (tuple(prediction.shape), tuple(target.shape)) != (expected, answers):
            raise ValueError(
                f"prediction has shape {tuple(prediction.shape)} and target {tuple(target.shape)}; "
                f"expected {expected} and {answers}."
            )
        if labelled is not None:
            prediction, target = prediction[labelled], target[labelled]
        prediction = at_least_float32(prediction)
        if not len(prediction):
            return prediction.sum() * 0.0
        if self.kind == "regression":
            target = self.encode(target, prediction)
            if self.loss == "ccc":
                return concordance_loss(prediction, target)
            return check_value(functional.mse_loss(prediction, target), prediction=prediction, target=target)
        corn = self.loss == "corn"
        loss = corn_loss(prediction, target) if corn else functional.cross_entropy(prediction, target)
        return check_value(loss, prediction=prediction)

    def sample_losses(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Losses ``(B,)`` of single labelled samples; for regression the squared error in the units of the head."""
        prediction = at_least_float32(prediction)
        if self.kind == "regression":
            return (prediction - self.encode(target, prediction)).square().mean(-1)
        if self.loss == "cross-entropy":
            return functional.cross_entropy(prediction, target, reduction="none")
        asked, above = _corn_questions(prediction, target)
        return (
            functional.binary_cross_entropy_with_logits(prediction, above, reduction="none").where(asked, 0.0).sum(-1)
        )

    def encode(self, target: Tensor, prediction: Tensor) -> Tensor:
        """Convert regression targets to the units of the head and to the dtype of the prediction."""
        target = target.to(prediction)
        if not self.center:
            return target
        return (target - prediction.new_tensor(self.center)) / prediction.new_tensor(self.spread)

    def decode(self, prediction: Tensor) -> Tensor:
        """Return ``(B,)`` int64 class indices, or ``(B, R)`` values in the units of the target."""
        if self.kind == "regression":
            if not self.center:
                return prediction
            return prediction * prediction.new_tensor(self.spread) + prediction.new_tensor(self.center)
        if self.loss == "corn":
            return (prediction.sigmoid().cumprod(-1) > 0.5).sum(-1)
        return prediction.argmax(-1)

    def probabilities(self, prediction: Tensor) -> Tensor:
        """Return ``(B, C)`` class probabilities. Raises ``ValueError`` for regression."""
        if self.kind == "regression":
            raise ValueError("a regression has no class probabilities.")
        if self.loss != "corn":
            return prediction.softmax(-1)
        above = prediction.sigmoid().cumprod(-1)
        ones, zeros = torch.ones_like(above[..., :1]), torch.zeros_like(above[..., :1])
        return torch.cat([ones, above], -1) - torch.cat([above, zeros], -1)

    def metrics(self, prediction: Tensor, target: Tensor) -> dict[str, float]:
        """Compute the metrics of ``B`` labelled samples from raw predictions; see :mod:`pkdot.metrics`."""
        answer = self.decode(at_least_float32(prediction.detach().cpu())).numpy()
        truth = target.detach().cpu().numpy()
        if self.kind == "regression":
            agreement = concordance(answer, truth)
            single = {f"ccc_{name}": float(value) for name, value in zip(self.targets, agreement, strict=True)}
            return {
                "ccc": float(agreement.mean()),
                **(single if len(self.targets) > 1 else {}),
                "rmse": root_mean_squared_error(answer, truth),
                "pcc": float(pearson(answer, truth).mean()),
                "mae": mean_absolute_error(answer, truth),
                "r2": float(r_squared(answer, truth).mean()),
            }
        found = {"accuracy": accuracy(answer, truth), "macro_f1": macro_f1(answer, truth, len(self.classes))}
        if self.kind == "ordinal":
            found["mae"] = mean_absolute_error(answer, truth)
            found["qwk"] = quadratic_weighted_kappa(answer, truth, len(self.classes))
        return found


def corn_loss(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Conditional ordinal regression (Shi, Cao, Raschka 2021).

    Logit k predicts "above level k, given that it is above level k - 1". It is trained on the latter samples only:

    .. math:: L = -\frac{1}{\sum_k |S_k|} \sum_k \sum_{i \in S_k} \log p(y_i > k \mid y_i > k - 1)
        \text{ or its complement,} \qquad S_k = \{i : y_i \ge k\}

    The probability of exceeding a level then decreases with the level, without a constraint on the weights. Use it for
    targets on a scale, not for classes without an order.

    Args:
        prediction: ``(B, C - 1)`` logits.
        target: ``(B,)`` int64 levels 0 to C - 1.

    >>> corn_loss(torch.zeros(2, 2), torch.tensor([0, 2]))  # log 2, the loss of a coin
    tensor(0.6931)
    """
    asked, above = _corn_questions(prediction, target)
    return functional.binary_cross_entropy_with_logits(prediction[asked], above[asked])


def _corn_questions(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """``(B, C - 1)``: whether a sample trains logit k, and the answer it should give."""
    levels = torch.arange(prediction.shape[-1], device=prediction.device)
    return target.unsqueeze(-1) >= levels, (target.unsqueeze(-1) > levels).to(prediction.dtype)


def concordance_loss(prediction: Tensor, target: Tensor) -> Tensor:
    r"""1 - CCC, averaged over the output dimensions, with population moments over the batch.

    .. math:: 1 - \frac{1}{R} \sum_r \frac{2 \operatorname{cov}_r}{\sigma_p^2 + \sigma_t^2 + (\mu_p - \mu_t)^2}

    The unit does not matter, if both sides have the same. In a batch of one sample, or with a constant target, there is
    no covariance to learn from: the loss is then 1 and its gradient 0. Computed in float32 at least.

    Args:
        prediction: ``(B, R)``.
        target: ``(B, R)``.

    Raises:
        ValueError: shapes differ, or values are not finite.

    >>> target = torch.tensor([[1.0], [2.0], [3.0]])
    >>> concordance_loss(target, target), concordance_loss(target + 1, target)
    (tensor(0.), tensor(0.4286))
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)} and target {tuple(target.shape)}; expected the same."
        )
    prediction = at_least_float32(prediction)
    if not prediction.numel():
        return prediction.sum()
    target = target.to(prediction.dtype)
    check_rows(prediction=prediction, target=target)
    return (1 - batch_concordance(prediction, target)).mean()


def batch_concordance(prediction: Tensor, target: Tensor) -> Tensor:
    """CCC ``(*, R)`` of two ``(*, B, R)`` over the batch, as in :func:`concordance_loss`; 0 for a constant target.

    >>> batch_concordance(torch.tensor([[2.0], [3.0]]), torch.tensor([[1.0], [2.0]]))
    tensor([0.3333])
    """
    # The result does not depend on the unit. In one where both sides are about 1, squares stay in range.
    size = half_range(torch.cat([prediction, target], -2), -2)
    prediction, target = in_range(prediction, size), in_range(target, size)
    prediction_mean, target_mean = prediction.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    deviation, target_deviation = prediction - prediction_mean, target - target_mean
    # Test the values, not the deviations: after rounding, equal numbers have deviations that are pure noise.
    target_deviation = torch.where((target != target[..., :1, :]).any(-2, keepdim=True), target_deviation, 0.0)
    covariance = (deviation * target_deviation).mean(-2)
    between = (prediction_mean - target_mean).square().squeeze(-2)
    scale = deviation.square().mean(-2) + target_deviation.square().mean(-2) + between
    return 2 * covariance / torch.where(scale > 0, scale, 1.0)
