"""Evaluating the model of a finished run again, on a split of its own data set or of another one."""

from dataclasses import dataclass
from typing import Any

from pkdot.checks import check_type
from pkdot.config import DataConfig, EvaluateConfig, OptimConfig
from pkdot.data.loader import Loader
from pkdot.data.study import Study, check_schema, open_study
from pkdot.recipes import setting_names, settings_from
from pkdot.students import STUDENTS
from pkdot.teachers import TEACHERS
from pkdot.training.device import find_device, repeatable
from pkdot.training.evaluation import write_predictions
from pkdot.training.model_file import blamed_on, load_model
from pkdot.training.run_folder import open_run_folder
from pkdot.training.trained import load_trained


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one model on one split.

    >>> Evaluation("student", "toy", samples=24, subjects=4, metrics={"accuracy": 0.75}).metrics
    {'accuracy': 0.75}
    """

    kind: str
    data: str
    samples: int
    subjects: int
    metrics: dict[str, float]


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Evaluate the model of a run folder on a split of its own data set or of another one.

    Raises:
        ValueError: the run holds no model, or the data lack what the model reads.
    """
    check_type("config", config, EvaluateConfig)
    device = find_device(config.device)
    folder = open_run_folder(config.folder)
    _, metadata = load_model(folder.best)
    kind = str(metadata.get("kind"))
    trained = load_trained(folder, TEACHERS if kind == "teacher" else STUDENTS, kind)
    with blamed_on(folder.best, "metadata that this version cannot read"):
        data = data_config(metadata["data"], config)
    optim = OptimConfig(task_loss=trained.schema.task.loss, batch_size=config.batch_size)
    study = open_study(data, optim, seed=0)
    check_schema(folder.path, trained.schema, study.schema, trained.names)
    loader, indices = _split(study, config.split)
    try:
        with repeatable():
            predictions = trained.network(device).predict(loader)
    except RuntimeError as error:  # the model refuses to answer, for example with an untrained T-Net
        raise ValueError(f"{folder.path}: cannot be evaluated: {error}") from error
    subjects = [record.subject for record in study.records(indices)]
    if config.predictions is not None:
        write_predictions(config.predictions, predictions, subjects, trained.schema)
    task = trained.schema.task
    samples = int(predictions.labelled.sum())
    return Evaluation(kind, study.schema.name, samples, len(set(subjects)), predictions.metrics(task))


def data_config(plain: dict[str, Any], config: EvaluateConfig) -> DataConfig:
    """The settings of the run's data, with the source in ``config.data`` if one is given.

    >>> from pathlib import Path
    >>> data_config({"source": "biovid:data", "labels": 0.5}, EvaluateConfig(Path("run"), data="toy")).source
    'toy'
    """
    known = setting_names(DataConfig)
    plain = {key: value for key, value in plain.items() if key in known}
    return settings_from(DataConfig, plain | ({"source": config.data} if config.data else {}))


def _split(study: Study, name: str) -> tuple[Loader, Any]:
    loaders = {"train": study.train_clean, "val": study.validation, "test": study.test}
    return loaders[name](), getattr(study.splits, name)
