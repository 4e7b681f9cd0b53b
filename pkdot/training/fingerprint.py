"""Everything that decides the result of a run. A run is reused only if a new one would have the same fingerprint."""

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from pkdot.config import ModelConfig, OptimConfig, StudentRunConfig, TeacherRunConfig
from pkdot.data.augment import VECTOR_NOISE
from pkdot.data.content import file_digest
from pkdot.data.study import Study
from pkdot.losses import LOSSES
from pkdot.losses.base import declared_by
from pkdot.methods import parse_method
from pkdot.storage import write_text
from pkdot.training.distillation import accepted_settings, balance_factor, loss_settings
from pkdot.training.schedule import resolved

FORMAT = 1
"""Increase it when training changes in a way that no setting shows: older runs are then not reused."""
NO_TEACHER = "none"
_WORDS = {
    "data.content": "other data",
    "data.split": "other splits",
    "data.labels": "other labels",
    "teacher": "another teacher",
    "format": "another version of pkdot",
}


@dataclass(frozen=True)
class Fingerprint:
    """Names and values of everything that changes the result of a run. Threads, paths, device and names do not.

    >>> was, wanted = Fingerprint({"optim.epochs": 1, "seed": 0}), Fingerprint({"optim.epochs": 20, "seed": 0})
    >>> was.differences(wanted)
    ['optim.epochs 1 instead of 20']
    """

    parts: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits."""
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, wanted: "Fingerprint", *, but: Iterable[str] = ()) -> list[str]:
        """A phrase for each part that differs from the wanted run's, except for the parts in ``but``."""
        names = [name for name in dict.fromkeys([*self.parts, *wanted.parts]) if name not in but]
        return [
            _WORDS[name]
            if name in _WORDS
            else f"{name} {_shown(self.parts.get(name))} instead of {_shown(wanted.parts.get(name))}"
            for name in names
            if self.parts.get(name) != wanted.parts.get(name)
        ]

    @property
    def text(self) -> str:
        """As JSON, for :func:`read_fingerprint`."""
        return json.dumps({"digest": self.digest, **self.parts}, indent=2) + "\n"

    def write(self, path: Path) -> None:
        """Write :attr:`text` to a file."""
        write_text(path, self.text)


def read_fingerprint(path: Path) -> Fingerprint:
    """The fingerprint in a file. Raises ``ValueError`` for a file that is missing, damaged or changed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Fingerprint({"seed": 0}).write(Path(folder, "fingerprint.json"))
    ...     read_fingerprint(Path(folder, "fingerprint.json"))
    Fingerprint(parts={'seed': 0})
    """
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        digest = parts.pop("digest")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected the fingerprint of a run, which says how it was trained and on what."
        ) from error
    found = Fingerprint(parts)
    if found.digest != digest:
        raise ValueError(f"{path}: damaged, its parts do not match its digest.")
    return found


def teacher_fingerprint(config: TeacherRunConfig, study: Study) -> Fingerprint:
    """The fingerprint of a teacher's run.

    Args:
        config: of the run.
        study: the data; its schema has the modalities that the teacher reads, and no others.
    """
    names = tuple(study.schema.modalities)
    return Fingerprint(
        {
            **_common(config.model, config.optim, config.run.seed, study, names),
            "model.teacher": config.model.teacher,
        }
    )


def student_fingerprint(config: StudentRunConfig, study: Study, teacher: str) -> Fingerprint:
    """The fingerprint of a student's run.

    Args:
        config: of the run.
        study: the data.
        teacher: the digest of the teacher's fingerprint, or :data:`NO_TEACHER`.
    """
    names = study.schema.prevalent
    parts = {
        **_common(config.model, config.optim, config.run.seed, study, names),
        "model.student": config.model.student,
        "teacher": teacher,
    }
    if teacher != NO_TEACHER:
        parts |= _distillation(config, study)
    return Fingerprint(parts)


def teacher_digest(path: Path | None) -> str:
    """Identify a teacher in its student's fingerprint, by the digest of the teacher's own fingerprint.

    Teachers of older versions have no fingerprint; for them it is the digest of their weights.

    Args:
        path: the teacher's run folder, or None.

    Raises:
        ValueError: the folder holds no teacher.

    >>> teacher_digest(None)
    'none'
    """
    if path is None:
        return NO_TEACHER
    own = path / "fingerprint.json"
    if own.exists():
        return read_fingerprint(own).digest
    try:
        return f"weights {json.loads((path / 'best.json').read_text(encoding='utf-8'))['sha256']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: expected the run folder of a teacher.") from error


def _common(model: ModelConfig, optim: OptimConfig, seed: int, study: Study, names: tuple[str, ...]) -> dict[str, Any]:
    task, modalities = study.schema.task, study.schema.modalities
    kinds = {modalities[name].kind for name in names}
    parts: dict[str, Any] = {
        "format": FORMAT,
        "data.content": study.content_digest,
        "data.split": study.split_digest,
        "data.labels": study.label_digest,
        "data.augment": study.config.augment,
        "data.task": [task.kind, task.loss, *task.targets, *task.classes],
        "data.modalities": {name: [modalities[name].kind, *modalities[name].shape] for name in names},
        "model.width": model.width,
        **{f"model.{kind}": getattr(model, kind) for kind in sorted(kinds)},
        "seed": seed,
    }
    if study.config.augment and "vector" in kinds:
        parts["data.vector_noise"] = VECTOR_NOISE
    if model.weights is not None and "video" in kinds:
        parts["model.weights"] = file_digest(model.weights)[:16]
    # The task loss is in "data.task" by its name: "auto" would not say which one it was.
    settings = asdict(resolved(optim, len(study.splits.train)))
    return parts | {f"optim.{name}": value for name, value in settings.items() if name != "task_loss"}


def _distillation(config: StudentRunConfig, study: Study) -> dict[str, Any]:
    """All settings of the method's losses: the given ones, and the losses' own defaults for the others."""
    distill, shares = config.distill, parse_method(config.distill.method)
    parts: dict[str, Any] = {"distill.method": shares}
    for name, given in loss_settings(distill, study.schema.task).items():
        for word, value in {**_defaults(LOSSES[name]), **given}.items():
            parts[f"distill.{name}.{word}"] = value if isinstance(value, bool | int | float | str) else repr(value)
    if distill.weight == "auto":
        parts["distill.balance"] = balance_factor(distill.balance, study.label_share)
    else:
        parts["distill.weight"] = float(distill.weight)
    if any(declared_by(LOSSES[name]).several_teachers for name in shares):
        parts["distill.alignment_epochs"] = distill.alignment_epochs
    if study.config.augment:
        parts["distill.teacher_input"] = distill.teacher_input
    return parts


def _defaults(kind: type[nn.Module]) -> dict[str, Any]:
    return {name: value for name, value in accepted_settings(kind).items() if value is not inspect.Parameter.empty}


def _shown(value: Any) -> str:
    return "unknown" if value is None else str(value)
