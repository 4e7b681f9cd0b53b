"""One run, from a config to its result: the steps that a teacher and a student share."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pkdot.config import StudentRunConfig, TeacherRunConfig
from pkdot.data.loader import Loader
from pkdot.data.study import Study
from pkdot.training.device import find_device
from pkdot.training.evaluation import read_result, write_predictions, write_result
from pkdot.training.fingerprint import Fingerprint
from pkdot.training.loop import Trainee, fit
from pkdot.training.network import Network
from pkdot.training.run_folder import RunFolder, held, new_run_folder, open_run_folder
from pkdot.training.schedule import resolved
from pkdot.training.trained import load_model

Prepare = Callable[[Loader, torch.device], Trainee]
"""Builds what is trained, from the loader of the validation split and the device."""


@dataclass(frozen=True)
class RunResult:
    """A finished run, with the content of its ``result.json``.

    >>> RunResult(RunFolder(Path("runs/teacher")), {"metrics": {"accuracy": 0.75}}).metrics
    {'accuracy': 0.75}
    """

    folder: RunFolder
    result: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics on the test split."""
        metrics: dict[str, float] = self.result["metrics"]
        return metrics


def train_and_test(
    config: TeacherRunConfig | StudentRunConfig,
    study: Study,
    fingerprint: Fingerprint,
    prepare: Prepare,
    folder: RunFolder | None = None,
) -> RunResult:
    """Train, select on the validation split, and test once. A finished run is returned as it is.

    Args:
        config: of the run.
        study: the data as the model sees them.
        fingerprint: of everything that decides the result.
        prepare: builds what is trained. Torch is seeded before, and nothing is written yet.
        folder: where the run goes; None resumes ``config.run.resume``, or makes a new folder.

    Raises:
        ValueError: the folder holds a run with another fingerprint, or data or settings cannot be used.
        Interrupted: after Ctrl-C, with the state saved.
    """
    device = find_device(config.run.device)
    folder = folder or (open_run_folder(config.run.resume) if config.run.resume else None)
    if folder and (finished := finished_run(folder, fingerprint)):
        return finished
    config = replace(config, optim=resolved(config.optim, len(study.splits.train)))
    train, validation = study.train(), study.validation()
    for loader in (train, validation):
        loader.preload()  # a sample that cannot be read is found before anything is written
    torch.manual_seed(config.run.seed)
    trainee = prepare(validation, device)
    trainee = replace(trainee, metadata=describe(trainee.kind, study, asdict(config.model)) | trainee.metadata)
    folder = folder or new_run_folder(config.run.out, config.run.name or f"{trainee.name}-{study.schema.name}")
    with held(folder, config, fingerprint):
        if finished := finished_run(folder, fingerprint):  # by another process in the meantime
            return finished
        fit(trainee, train, config.optim, config.run, folder)
        result = test(trainee.objective.network, study, folder) | trainee.told
        result |= trainee.objective.state() | {"fingerprint": fingerprint.digest}
        write_result(folder.result, result)
        if trainee.watcher is not None:
            trainee.watcher.on_end(folder)
    return RunResult(folder, result)


def finished_run(folder: RunFolder, fingerprint: Fingerprint) -> RunResult | None:
    """The run in a folder; None while it has no result. Raises ``ValueError`` for a run with another fingerprint."""
    if not folder.result.exists():
        return None
    folder.check(fingerprint)
    return RunResult(folder, read_result(folder.result))


def test(network: Network, study: Study, folder: RunFolder) -> dict[str, Any]:
    """Load the selected model, answer the test split, and write the predictions; returns the result.

    This is the only place where a run reads the test split.
    """
    tensors, saved = load_model(folder.best)
    network.model.load_state_dict(tensors)
    predictions = network.predict(study.test())
    subjects = [record.subject for record in study.records(study.splits.test)]
    write_predictions(folder.predictions, predictions, subjects, study.schema)
    return {
        "kind": saved["kind"],
        "data": study.schema.name,
        "split": "test",
        "samples": int(predictions.labelled.sum()),
        "subjects": len(set(subjects)),
        "train_samples": len(study.splits.train),
        "split_digest": study.split_digest,
        "label_digest": study.label_digest,
        "label_share": study.label_share,
        "best_epoch": saved["epoch"],
        "validation": saved["validation"],
        "primary_metric": study.schema.task.primary_metric,
        "metrics": predictions.metrics(study.schema.task),
    }


def describe(kind: str, study: Study, model: dict[str, Any]) -> dict[str, Any]:
    """What a model's file says of it."""
    return {
        "kind": kind,
        "schema": study.schema.to_dict(),
        "model": _plain(model),
        "data": _plain(asdict(study.config)),
        "split_digest": study.split_digest,
        "label_digest": study.label_digest,
    }


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in JSON's types: a path becomes text."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
