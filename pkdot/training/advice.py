"""What a run says where its result is not worth much: sentences from numbers, or nothing.

None of them stops a run. A sentence is for somebody who does not know the toolkit: what was seen, and what helps.
"""

import logging
import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from pkdot.data.study import Study
from pkdot.metrics import unscorable

log = logging.getLogger(__name__)

SMALLEST_WEIGHT, LARGEST_WEIGHT = 1e-7, 1e7
"""Balanced weights beyond these say that one of the two gradients has all but vanished."""


def warn(*sentences: str | None) -> None:
    """Tell each sentence, in a line of its own, to whoever listens to the logger."""
    for sentence in sentences:
        if sentence is not None:
            log.warning("warning: %s", sentence)


def warn_of_data(study: Study) -> None:
    """Warn of classes without a labelled training sample, and of splits on which the metric cannot be computed."""
    task, known = study.schema.task, study.targets
    warn(classes_without_samples(task.classes, [target[0] for target in known["train"]]))
    for name, targets, consequence in (
        ("validation", known["val"], "the model is selected by its loss there"),
        ("test", known["test"], "its result is 0, which says nothing"),
    ):
        if reason := unscorable(task.primary_metric, np.array(targets)):
            told = f"{study.schema.name}: the {name} split has no {task.primary_metric}, since {reason}: {consequence}."
            warnings.warn(told, UserWarning, stacklevel=2)


def best_was_last(who: str, best_epoch: int, epochs: int, score: float) -> str | None:
    """Training ended while the score still rose; a perfect score, which the loss alone goes on from, may end so."""
    if best_epoch < epochs - 1 or score >= 1:
        return None
    return f"{who}: the best epoch was the last of {epochs}; more --epochs may help."


def no_better_than_chance(who: str, metric: str, metrics: Mapping[str, float], targets: Sequence[float]) -> str | None:
    """A test result that is not two standard errors above an answer that looks at nothing.

    For classes that answer is the commonest one; for levels and values any constant, which has a kappa or CCC of 0.
    Nothing is said of so few targets that no result could be told from chance.

    Args:
        targets: of the labelled test samples.
    """
    count = len(targets)
    if not count:
        return None
    if metric == "accuracy":
        chance = max(targets.count(value) for value in set(targets)) / count
        limit = chance + 2 * math.sqrt(chance * (1 - chance) / count)
        answer = f"always answering the commonest class gives {chance:.3f}"
    else:
        limit, answer = 2 / math.sqrt(count), "always answering the same gives 0"
    if limit >= 1 or metrics[metric] > limit:
        return None
    return (
        f"{who}: {metric} {metrics[metric]:.3f} on the {count} test samples is not clearly above chance ({answer}); "
        "there is little to distil."
    )


def not_ahead(metric: str, teacher: float, control: float) -> str | None:
    """A teacher that the undistilled student matches has nothing to teach it."""
    if teacher > control:
        return None
    return (
        f"the teacher is not ahead of the undistilled student ({metric} {teacher:.3f} against {control:.3f}): "
        "the privileged modalities gave it nothing that distillation could pass on."
    )


def classes_without_samples(classes: Sequence[str], targets: Sequence[float]) -> str | None:
    """Classes that are declared and that no labelled training sample has: no model will ever answer them.

    Args:
        targets: class indices of the labelled training samples.
    """
    known = {int(target) for target in targets}
    missing = [name for index, name in enumerate(classes) if index not in known]
    if not missing:
        return None
    told = f"class {missing[0]!r} has" if len(missing) == 1 else f"classes {', '.join(map(repr, missing))} have"
    return f"{told} no labelled sample in the training split, so that no model learns to answer it."


def absurd_weights(weights: Mapping[str, float], factor: float) -> str | None:
    """Balanced weights that are zero, not finite, or so large or small that one gradient has all but vanished.

    Args:
        factor: on the balanced weights; at 0 nothing else was asked for.
    """
    odd = {name: value for name, value in weights.items() if not SMALLEST_WEIGHT <= value <= LARGEST_WEIGHT}
    if not odd or factor == 0:
        return None
    told = ", ".join(f"{name} {value:.4g}" for name, value in odd.items())
    return (
        f"the balanced weight is absurd ({told}): on the first batches the gradient of the task or of the distillation "
        "loss is (nearly) zero or not finite; set --weight yourself, or choose another --method."
    )
