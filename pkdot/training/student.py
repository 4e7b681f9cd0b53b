"""Distilling a teacher into a student that needs the prevalent modalities only."""

from dataclasses import asdict, dataclass, replace

import torch

from pkdot.config import DistillConfig, StudentRunConfig
from pkdot.data.loader import Loader
from pkdot.data.study import Study, open_study
from pkdot.model import build
from pkdot.students import STUDENTS
from pkdot.training.advice import not_ahead, warn, warn_of_data
from pkdot.training.device import find_device, trainer
from pkdot.training.distillation import Distillation, balance_factor, build_criteria
from pkdot.training.evaluation import write_result
from pkdot.training.find_teacher import teacher_for
from pkdot.training.fingerprint import student_fingerprint, teacher_digest
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.loop import Trainee
from pkdot.training.network import Network
from pkdot.training.objectives import Hallucinates, StudentObjective, TaskObjective
from pkdot.training.pictures import StructurePictures
from pkdot.training.run import train_and_test
from pkdot.training.run_folder import RunFolder, RunResult


@dataclass(frozen=True)
class StudentResult:
    """The runs behind the table that ``pkdot-distill`` prints. Teacher and control may be None.

    >>> from pathlib import Path
    >>> def run(accuracy):
    ...     return RunResult(RunFolder(Path("run")), {"primary_metric": "accuracy", "metrics": {"accuracy": accuracy}})
    >>> round(StudentResult(student=run(0.6), teacher=run(0.9), control=run(0.5)).gap_closed, 3)
    0.25
    """

    student: RunResult
    teacher: RunResult | None
    control: RunResult | None

    @property
    def gap_closed(self) -> float | None:
        """(student - control) / (teacher - control) on the primary metric; None where there is no gap to close."""
        if self.teacher is None or self.control is None:
            return None
        name = self.student.result["primary_metric"]
        low, high = self.control.metrics[name], self.teacher.metrics[name]
        return (self.student.metrics[name] - low) / (high - low) if high > low else None


@trainer(StudentRunConfig)
def distill(config: StudentRunConfig) -> StudentResult:
    """Find or train the teacher, then train the student, and with ``config.with_control`` the undistilled student too.

    Raises:
        ValueError: data or settings cannot be used.
        Interrupted: after Ctrl-C, with the state saved.
    """
    find_device(config.run.device)  # before a data set is made or read
    study = open_study(config.data, config.optim, config.run.seed)
    build_criteria(config.distill, study.schema.task, student_width=1, teacher_width=1, samples=1)
    warn_of_data(study)
    teacher, control = teacher_for(config, study), None
    if teacher is not None:
        config = replace(config, teacher=teacher.folder.path.resolve())
    student = train_student(config, study)
    if config.with_control:
        control = train_student(control_of(config, student.folder), study, RunFolder(student.folder.path / "control"))
    if control and teacher:
        metric = control.result["primary_metric"]
        warn(not_ahead(metric, teacher.metrics[metric], control.metrics[metric]))
    result = StudentResult(student, teacher, control)
    others = {"teacher": teacher, "control": control}
    metrics = {f"{role}_metrics": run.metrics for role, run in others.items() if run is not None}
    told = {**student.result, **metrics, "gap_closed": result.gap_closed}
    if told != student.result:
        write_result(student.folder.result, told)
    return replace(result, student=RunResult(student.folder, told))


@trainer(StudentRunConfig)
def train_student(config: StudentRunConfig, study: Study, folder: RunFolder | None = None) -> RunResult:
    """Train one student with the teacher in ``config.teacher``, select it on the validation split, and test it once.

    Args:
        config: the settings of the run.
        study: the data.
        folder: where the run goes; None resumes ``config.run.resume``, or makes a new folder.

    Raises:
        ValueError: data or settings cannot be used, or the folder holds a run with other settings or data.
        Interrupted: after Ctrl-C, with the state saved.
    """
    task, wanted = study.schema.task, config.distill

    def prepare(clean: Loader, validation: Loader, device: torch.device) -> Trainee:
        model = build(STUDENTS[config.model.student], study.schema, config.model).to(device)
        network = Network(model, study.schema.prevalent, device)
        teacher = FrozenTeacher.load(config.teacher, device) if config.teacher else None
        if teacher and (wanted.teacher_input == "clean" or not config.data.augment):
            teacher.remember(clean)
        factor = balance_factor(wanted.balance, study.label_share)
        alignment = {"epochs": wanted.alignment_epochs, "seed": config.run.seed}
        distillation = Distillation.of(
            wanted,
            task,
            student_width=config.model.width,
            teacher_width=teacher.width if teacher else config.model.width,
            rows={clean.dataset.records[int(index)].id: row for row, index in enumerate(clean.indices)},
            aligned=(lambda: teacher.aligned(clean, validation, task, **alignment)) if teacher else None,
        )
        objective = StudentObjective(
            TaskObjective(network, task, validation),
            distillation.to(device),
            teacher,
            weight=0.0 if wanted.method == "none" else wanted.weight,
            factor=factor,
            seed=config.run.seed,
        )
        drawn = config.run.picture_epochs > 0
        return Trainee(
            objective,
            title=f"student {wanted.method}",
            metadata={"distill": asdict(wanted)},
            told={"method": wanted.method, "teacher": str(config.teacher) if config.teacher else None},
            watcher=StructurePictures(teacher, network, task, validation, config) if teacher and drawn else None,
        )

    fingerprint = student_fingerprint(config, study, teacher_digest(config.teacher))
    name = wanted.method.replace("*", "x").replace(" ", "")
    return train_and_test(config, study, fingerprint, prepare, name=name, folder=folder)


def control_of(config: StudentRunConfig, student: RunFolder) -> StudentRunConfig:
    """The same student, seed and budget without a teacher; a hallucinating student's control is the plain one.

    >>> from pathlib import Path
    >>> config = StudentRunConfig(teacher=Path("runs/teacher"), with_control=True)
    >>> control = control_of(config, RunFolder(Path("runs/student")))
    >>> control.distill.method, control.teacher, control.with_control, control.run.seed == config.run.seed
    ('none', None, False, True)
    """
    hallucinates = issubclass(STUDENTS[config.model.student], Hallucinates)
    model = replace(config.model, student="visual") if hallucinates else config.model
    run = replace(config.run, out=student.path, name="control", resume=None)
    return replace(config, model=model, distill=DistillConfig(method="none"), run=run, teacher=None, with_control=False)
