"""Warnings about results that mean little. Each function turns numbers into a sentence, or None if all is well.

No warning stops a run. Readers may not know the toolkit, so a sentence says what was seen and what helps.
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
"""A balanced weight outside these limits shows that one of the two gradients has nearly vanished."""


def warn(*sentences: str | None) -> None:
    """Log each sentence as a one-line warning; skip None.

    >>> warn(None)
    """
    for sentence in sentences:
        if sentence is not None:
            log.warning("warning: %s", sentence)


def warn_of_data(study: Study) -> None:
    """Warn of classes without a labelled training sample, and of splits on which the metric cannot be computed.

    >>> from types import SimpleNamespace
    >>> from pkdot.tasks import Task
    >>> schema = SimpleNamespace(name="toy", task=Task("classification", ("pain",), ("no", "yes")))
    >>> targets = {"train": [(0.0,), (1.0,)], "val": [(0.0,)], "test": [(1.0,)]}
    >>> warn_of_data(SimpleNamespace(schema=schema, targets=targets))  # nothing to warn of
    """
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
    """A warning if the best epoch was the last: the score may still have been rising. A perfect score gives None.

    >>> best_was_last("teacher", best_epoch=19, epochs=20, score=0.8)
    'teacher: the best epoch was the last of 20; more --epochs may help.'
    """
    if best_epoch < epochs - 1 or score >= 1:
        return None
    return f"{who}: the best epoch was the last of {epochs}; more --epochs may help."


def no_better_than_chance(who: str, metric: str, metrics: Mapping[str, float], targets: Sequence[float]) -> str | None:
    """A warning if a test result is less than two standard errors above that of a constant answer.

    For classes the constant answer is the most frequent class. For levels and values it is any constant, which has a
    kappa or CCC of 0. With very few targets even a perfect result is that close to chance; the function returns None.

    Args:
        who: the model, for the sentence.
        metric: the primary metric of the task.
        metrics: the model's metrics on the test split.
        targets: of the labelled test samples.

    >>> print(no_better_than_chance("teacher", "qwk", {"qwk": 0.1}, [0.0, 1.0, 2.0, 3.0] * 9))
    teacher: qwk 0.100 on the 36 test samples is not clearly above chance (always answering the same gives 0); there \
is little to distil.
    """
    count = len(targets)
    if not count:
        return None
    if metric == "accuracy":
        chance = max(targets.count(value) for value in set(targets)) / count
        limit = chance + 2 * math.sqrt(chance * (1 - chance) / count)
        answer = f"always answering the most frequent class gives {chance:.3f}"
    else:
        limit, answer = 2 / math.sqrt(count), "always answering the same gives 0"
    if limit >= 1 or metrics[metric] > limit:
        return None
    return (
        f"{who}: {metric} {metrics[metric]:.3f} on the {count} test samples is not clearly above chance ({answer}); "
        "there is little to distil."
    )


def not_ahead(metric: str, teacher: float, control: float) -> str | None:
    """A warning if the teacher is no better than the undistilled student: it has nothing to teach.

    >>> not_ahead("accuracy", teacher=0.9, control=0.8) is None
    True
    """
    if teacher > control:
        return None
    return (
        f"the teacher is not ahead of the undistilled student ({metric} {teacher:.3f} against {control:.3f}): "
        "the privileged modalities gave it nothing that distillation could pass on."
    )


def classes_without_samples(classes: Sequence[str], targets: Sequence[float]) -> str | None:
    """A warning if declared classes have no labelled training sample: no model learns to predict them.

    Args:
        classes: names of the declared classes.
        targets: class indices of the labelled training samples.

    >>> classes_without_samples(("no", "yes"), [0.0, 0.0])
    "class 'yes' has no labelled sample in the training split, so no model learns to predict it."
    """
    known = {int(target) for target in targets}
    missing = [name for index, name in enumerate(classes) if index not in known]
    if not missing:
        return None
    has = f"class {missing[0]!r} has" if len(missing) == 1 else f"classes {', '.join(map(repr, missing))} have"
    return f"{has} no labelled sample in the training split, so no model learns to predict it."


def absurd_weights(weights: Mapping[str, float], factor: float) -> str | None:
    """A warning if balanced weights are zero, not finite, or so extreme that a gradient has nearly vanished.

    Args:
        weights: of each loss.
        factor: on the balanced weights; a factor of 0 sets them to 0 on purpose.

    >>> absurd_weights({"ot": 0.05}, factor=0.5) is None
    True
    """
    odd = {name: value for name, value in weights.items() if not SMALLEST_WEIGHT <= value <= LARGEST_WEIGHT}
    if not odd or factor == 0:
        return None
    told = ", ".join(f"{name} {value:.4g}" for name, value in odd.items())
    return (
        f"the balanced weight is absurd ({told}): on the first batches the gradient of the task or of the distillation "
        "loss is (nearly) zero or not finite; set --weight yourself, or choose another --method."
    )
