"""Distilling a teacher into a student that needs the prevalent modalities only."""

from dataclasses import asdict, dataclass, replace

import torch

from pkdot.config import DistillConfig, StudentRunConfig
from pkdot.data.loader import Loader
from pkdot.data.study import Study, open_study
from pkdot.losses.base import declared_by
from pkdot.methods import parse_method
from pkdot.model import build
from pkdot.students import STUDENTS
from pkdot.training.advice import not_ahead, warn, warn_of_classes, warn_of_unscorable
from pkdot.training.alignment import TeacherPool, align
from pkdot.training.device import find_device, trainer
from pkdot.training.distillation import Distillation, balance_factor, build_criteria
from pkdot.training.evaluation import write_result
from pkdot.training.find_teacher import teacher_digest, teacher_for
from pkdot.training.fingerprint import student_fingerprint
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.loop import Trainee
from pkdot.training.network import Network
from pkdot.training.objectives import Hallucinates, StudentObjective, TaskObjective
from pkdot.training.pictures import StructurePictures
from pkdot.training.run import RunResult, train_and_test
from pkdot.training.run_folder import RunFolder


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
    """Find or train the teacher, train the student, and with ``with_control`` the undistilled student too.

    Raises:
        ValueError: data or settings cannot be used; nothing has been written then.
        Interrupted: after Ctrl-C, with the state saved.
    """
    find_device(config.run.device)  # before a data set is made or read
    study = open_study(config.data, config.optim, config.run.seed)
    build_criteria(config.distill, study.schema.task, student_width=1, teacher_width=1, samples=1)
    warn_of_classes(study)
    teacher = teacher_for(config, study)
    if teacher is not None:
        config = replace(config, teacher=teacher.folder.path.resolve())
    student = train_student(config, study)
    control = None
    if config.with_control:
        control = train_student(control_of(config, student.folder), study, RunFolder(student.folder.path / "control"))
    if control and teacher:
        metric = control.result["primary_metric"]
        warn(not_ahead(metric, teacher.metrics[metric], control.metrics[metric]))
    warn_of_unscorable(study)
    return _with_comparison(StudentResult(student, teacher, control))


def _with_comparison(result: StudentResult) -> StudentResult:
    """Add the other models' metrics to the student's ``result.json``."""
    others = {"teacher": result.teacher, "control": result.control}
    metrics = {f"{role}_metrics": run.metrics for role, run in others.items() if run is not None}
    told = {**result.student.result, **metrics, "gap_closed": result.gap_closed}
    if told != result.student.result:
        write_result(result.student.folder.result, told)
    return replace(result, student=RunResult(result.student.folder, told))


@trainer(StudentRunConfig)
def train_student(config: StudentRunConfig, study: Study, folder: RunFolder | None = None) -> RunResult:
    """Train one student with the teacher in ``config.teacher``, select it on the validation split, and test it once.

    Args:
        config: of the run.
        study: the data set, open.
        folder: where the run goes; None resumes ``config.run.resume``, or makes a new folder.

    Raises:
        ValueError: data or settings cannot be used, or the folder holds a run with other settings or data.
        Interrupted: after Ctrl-C, with the state saved.
    """

    def prepare(validation: Loader, device: torch.device) -> Trainee:
        model = build(STUDENTS[config.model.student], study.schema, config.model).to(device)
        network = Network(model, study.schema.prevalent, device)
        teacher = FrozenTeacher.load(config.teacher, device) if config.teacher else None
        own = TaskObjective(network, study.schema.task, validation)
        objective = StudentObjective(
            own,
            _distillation(config, study, teacher, device),
            teacher,
            weight=0.0 if config.distill.method == "none" else config.distill.weight,
            factor=balance_factor(config.distill.balance, study.label_share),
            seed=config.run.seed,
        )
        drawn = config.run.picture_epochs > 0
        pictures = StructurePictures(teacher, network, study, config) if teacher and drawn else None
        return Trainee(
            objective,
            "student",
            title=f"student {config.distill.method}",
            name=config.distill.method.replace("*", "x").replace(" ", ""),
            metadata={"distill": asdict(config.distill)},
            told={"method": config.distill.method, "teacher": str(config.teacher) if config.teacher else None},
            watcher=pictures,
        )

    fingerprint = student_fingerprint(config, study, teacher_digest(config.teacher))
    return train_and_test(config, study, fingerprint, prepare, folder)


def _distillation(
    config: StudentRunConfig, study: Study, teacher: FrozenTeacher | None, device: torch.device
) -> Distillation:
    """The losses of the method, and the aligned teachers where one of them chooses among several."""
    task, width = study.schema.task, config.model.width
    clean = config.distill.teacher_input == "clean" or not config.data.augment
    known = teacher.remember(study.train_clean()) if teacher and clean else None
    rows = {record.id: row for row, record in enumerate(study.records(study.splits.train))}
    criteria = build_criteria(
        config.distill,
        task,
        student_width=width,
        teacher_width=teacher.width if teacher else width,
        samples=len(rows),
    )
    pool: TeacherPool | None = None
    if teacher and any(declared_by(criterion).several_teachers for criterion in criteria.values()):
        known, validation = known or teacher.predict(study.train_clean()), teacher.predict(study.validation())
        epochs, seed = config.distill.alignment_epochs, config.run.seed
        pool = align(known, validation, task, epochs=epochs, seed=seed, device=device)
    shares = parse_method(config.distill.method)
    return Distillation(criteria, shares, task, rows=rows, pool=pool).to(device)


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
