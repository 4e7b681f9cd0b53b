"""Training a teacher on all modalities."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pkdot.config import TeacherRunConfig
from pkdot.data.loader import Loader
from pkdot.data.study import Study, open_study
from pkdot.model import build
from pkdot.teachers import TEACHERS
from pkdot.training.advice import no_better_than_chance, warn, warn_of_classes, warn_of_unscorable
from pkdot.training.checkpoints import load_model
from pkdot.training.device import find_device, trainer
from pkdot.training.evaluation import predict, read_result, write_predictions, write_result
from pkdot.training.fingerprint import Fingerprint, teacher_fingerprint
from pkdot.training.loop import fit
from pkdot.training.objectives import TeacherObjective
from pkdot.training.run_folder import RunFolder, held, new_run_folder, open_run_folder
from pkdot.training.schedule import resolved


@dataclass(frozen=True)
class RunResult:
    """A finished run and the content of its ``result.json``."""

    folder: RunFolder
    result: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics on the test split."""
        metrics: dict[str, float] = self.result["metrics"]
        return metrics


@trainer(TeacherRunConfig)
def train_teacher(config: TeacherRunConfig, study: Study | None = None, folder: RunFolder | None = None) -> RunResult:
    """Train, select on the validation split, and test once.

    Raises ``ValueError`` for data or settings that cannot be used, before anything is written, and ``Interrupted``
    after Ctrl-C. ``study`` saves opening the data set again. ``folder`` is used as it is; without it a new one is
    made, or the one in ``config.run.resume`` is resumed. A finished run is not repeated, and one that was begun with
    other settings or data is refused.
    """
    device = find_device(config.run.device)
    folder = folder or (open_run_folder(config.run.resume) if config.run.resume else None)
    alone = study is None
    study = seen_by_teacher(config, study or open_study(config.data, config.optim, config.run.seed))
    config = replace(config, optim=resolved(config.optim, len(study.splits.train)))
    fingerprint = teacher_fingerprint(config, study)
    if folder and (finished := finished_run(folder, fingerprint)):
        return finished
    if alone:
        warn_of_classes(study)
    torch.manual_seed(config.run.seed)
    model = build(TEACHERS[config.model.teacher], study.schema, config.model).to(device)
    names = tuple(study.schema.modalities)
    train, validation = study.train(), study.validation()
    preload(train, validation)
    objective = TeacherObjective(model, study.schema.task, names, validation, device)
    metadata = describe("teacher", study, asdict(config.model))
    folder = folder or new_run_folder(config.run.out, config.run.name or f"teacher-{study.schema.name}")
    with held(folder, config, fingerprint):
        if finished := finished_run(folder, fingerprint):  # by another process, while this one prepared
            return finished
        fit(objective, train, config.optim, config.run, folder, device=device, metadata=metadata, title="teacher")
        more = {"fingerprint": fingerprint.digest}
        result = test(objective, study, folder, names, device, metadata, **more)
    if alone:
        warn_of_unscorable(study)
    known = [target[0] for target in study.targets(study.splits.test)]
    warn(no_better_than_chance("teacher", result["primary_metric"], result["metrics"], known))
    return RunResult(folder, result)


def seen_by_teacher(config: TeacherRunConfig, study: Study) -> Study:
    """The data as the teacher sees it: one without the privileged modalities knows nothing of them."""
    return study if config.privileged else replace(study, schema=study.schema.prevalent_only())


def finished_run(folder: RunFolder, fingerprint: Fingerprint) -> RunResult | None:
    """The run in a folder, once it has a result. Raises ``ValueError`` where that is another run."""
    if not folder.result.exists():
        return None
    folder.check(fingerprint)
    return RunResult(folder, read_result(folder.result))


def test(
    objective: TeacherObjective,
    study: Study,
    folder: RunFolder,
    names: tuple[str, ...],
    device: torch.device,
    metadata: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """Read the test split with the selected model, for the first and only time, and write the result."""
    tensors, saved = load_model(folder.best)
    objective.model.load_state_dict(tensors)
    predictions = predict(objective.model, study.test(), names, device)
    subjects = [record.subject for record in study.records(study.splits.test)]
    write_predictions(folder.predictions, predictions, subjects, study.schema)
    result = {
        "kind": metadata["kind"],
        "data": study.schema.name,
        "split": "test",
        "samples": int(predictions.labelled.sum()),
        "subjects": len(set(subjects)),
        "train_samples": len(study.splits.train),
        "split_digest": metadata["split_digest"],
        "label_digest": metadata["label_digest"],
        "label_share": study.label_share,
        "best_epoch": saved["epoch"],
        "validation": saved["validation"],
        "primary_metric": study.schema.task.primary_metric,
        "metrics": predictions.metrics(study.schema.task),
        **more,
    }
    write_result(folder.result, result)
    return result


def preload(*loaders: Loader) -> None:
    """Read what fits in memory now: a sample that cannot be read is then found before anything is written."""
    for loader in loaders:
        loader.preload()


def describe(kind: str, study: Study, model: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {
        "kind": kind,
        "schema": study.schema.to_dict(),
        "model": _plain(model),
        "data": _plain(asdict(study.config)),
        "split_digest": study.split_digest,
        "label_digest": study.label_digest,
    }


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them: a path is its text."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
