"""Training a teacher on all modalities."""

from dataclasses import replace

import torch

from pkdot.config import TeacherRunConfig
from pkdot.data.loader import Loader
from pkdot.data.study import Study, open_study
from pkdot.model import build
from pkdot.teachers import TEACHERS
from pkdot.training.advice import no_better_than_chance, warn, warn_of_data
from pkdot.training.device import find_device, trainer
from pkdot.training.fingerprint import Fingerprint, teacher_fingerprint
from pkdot.training.loop import Trainee
from pkdot.training.network import Network
from pkdot.training.objectives import TaskObjective
from pkdot.training.run import train_and_test
from pkdot.training.run_folder import RunFolder, RunResult


@trainer(TeacherRunConfig)
def train_teacher(config: TeacherRunConfig, study: Study | None = None, folder: RunFolder | None = None) -> RunResult:
    """Train a teacher, select it on the validation split, and test it once.

    Args:
        config: the settings of the run.
        study: the data, if they are open already; the caller then warns of faults in them.
        folder: where the run goes; None resumes ``config.run.resume``, or makes a new folder.

    Raises:
        ValueError: data or settings cannot be used, or the folder holds a run with other settings or data.
        Interrupted: after Ctrl-C, with the state saved.
    """
    if study is None:
        find_device(config.run.device)  # before a data set is made or read
        study = open_study(config.data, config.optim, config.run.seed)
        warn_of_data(study)
    study = seen_by_teacher(config, study)
    return teach(config, study, teacher_fingerprint(config, study), folder)


def teach(
    config: TeacherRunConfig, study: Study, fingerprint: Fingerprint, folder: RunFolder | None = None
) -> RunResult:
    """Train and test a teacher on a study that is open and has the modalities that the teacher reads."""

    def prepare(_: Loader, validation: Loader, device: torch.device) -> Trainee:
        model = build(TEACHERS[config.model.teacher], study.schema, config.model).to(device)
        network = Network(model, tuple(study.schema.modalities), device)
        return Trainee(TaskObjective(network, study.schema.task, validation), title="teacher")

    run = train_and_test(config, study, fingerprint, prepare, name="teacher", folder=folder)
    known = [target[0] for target in study.targets["test"]]
    warn(no_better_than_chance("teacher", run.result["primary_metric"], run.metrics, known))
    return run


def seen_by_teacher(config: TeacherRunConfig, study: Study) -> Study:
    """The study as the teacher sees it: without privileged modalities where ``config.privileged`` is False."""
    return study if config.privileged else replace(study, schema=study.schema.prevalent_only())
