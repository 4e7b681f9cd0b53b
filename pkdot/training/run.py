"""One run, from a config to its result: the steps that a teacher and a student share."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from pkdot.config import StudentRunConfig, TeacherRunConfig
from pkdot.data.loader import Loader
from pkdot.data.study import Study
from pkdot.training.device import find_device
from pkdot.training.evaluation import write_predictions, write_result
from pkdot.training.fingerprint import Fingerprint
from pkdot.training.loop import Trainee, fit
from pkdot.training.model_file import load_model
from pkdot.training.network import Network
from pkdot.training.run_folder import RunFolder, RunResult, held
from pkdot.training.schedule import resolved

Prepare = Callable[[Loader, Loader, torch.device], Trainee]
"""A function that builds what is trained. It gets a loader of the training split in order and without augmentation, a
loader of the validation split, and the device."""


def train_and_test(
    config: TeacherRunConfig | StudentRunConfig,
    study: Study,
    fingerprint: Fingerprint,
    prepare: Prepare,
    *,
    name: str,
    folder: RunFolder | None = None,
) -> RunResult:
    """Train, select on the validation split, and test once. A finished run is returned as it is.

    Args:
        config: the settings of the run.
        study: the data, with the modalities that the model may read.
        fingerprint: everything that decides the result.
        prepare: builds what is trained; it is called with torch's generator freshly seeded.
        name: what is trained, for the name of a new folder; ``config.run.name`` replaces it.
        folder: where the run goes; None resumes ``config.run.resume``, or makes a new folder.

    Raises:
        ValueError: the folder holds a run with another fingerprint, or data or settings cannot be used.
        Interrupted: after Ctrl-C, with the state saved.
    """
    metadata, device = describe(config, study), find_device(config.run.device)
    config = replace(config, optim=resolved(config.optim, len(study.splits.train)))
    with held(config, fingerprint, name=f"{name}-{study.schema.name}", folder=folder) as place:
        if place.result.exists():
            return RunResult(place, place.read_result())
        train, clean, validation, held_out = study.train(), study.train_clean(), study.validation(), study.test()
        subjects = [record.subject for record in study.records(study.splits.test)]
        for loader in (train, validation):
            loader.preload()  # a sample that cannot be read ends the run before its first step
        torch.manual_seed(config.run.seed)
        trainee = prepare(clean, validation, device)
        fit(trainee, train, config.optim, config.run, place, metadata | trainee.metadata)
        result = test(trainee.objective.network, held_out, subjects, study, place)
        result |= trainee.told | trainee.objective.state() | {"fingerprint": fingerprint.digest}
        write_result(place.result, result)
        if trainee.watcher is not None:
            trainee.watcher.on_end(place)
    return RunResult(place, result)


def test(network: Network, held_out: Loader, subjects: list[str], study: Study, folder: RunFolder) -> dict[str, Any]:
    """Test the selected model: write its predictions for the test split and return the result.

    This is the only place where a run reads the test split.

    Args:
        network: gets the weights of the selected model.
        held_out: a loader of the test split.
        subjects: the subject of each test sample.
        study: the data.
        folder: the run folder.
    """
    tensors, saved = load_model(folder.best)
    network.model.load_state_dict(tensors)
    predictions = network.predict(held_out)
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


def describe(config: TeacherRunConfig | StudentRunConfig, study: Study) -> dict[str, Any]:
    """The metadata that every model file has: what the model is, and what it was trained on."""
    return {
        "kind": "teacher" if isinstance(config, TeacherRunConfig) else "student",
        "schema": study.schema.to_dict(),
        "model": _plain(asdict(config.model)),
        "data": _plain(asdict(study.config)),
        "split_digest": study.split_digest,
        "label_digest": study.label_digest,
    }


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in the types of JSON: a path becomes text."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
