"""Distilling a teacher into a student that needs the prevalent modalities only."""

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from pkdot.config import DistillConfig, StudentRunConfig
from pkdot.data.study import Study, open_study
from pkdot.methods import parse_method
from pkdot.model import build
from pkdot.students import STUDENTS
from pkdot.training.advice import absurd_weights, not_ahead, warn, warn_of_classes, warn_of_unscorable
from pkdot.training.alignment import TeacherPool, align
from pkdot.training.device import find_device, trainer
from pkdot.training.distillation import Distillation, balance_factor, build_criteria
from pkdot.training.evaluation import Predictions, write_result
from pkdot.training.find_teacher import teacher_digest, teacher_for
from pkdot.training.fingerprint import student_fingerprint
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.loop import fit
from pkdot.training.objectives import Hallucinates, StudentObjective
from pkdot.training.pictures import StructurePictures
from pkdot.training.run_folder import RunFolder, held, new_run_folder, open_run_folder
from pkdot.training.schedule import resolved
from pkdot.training.teacher import RunResult, describe, finished_run, preload, test

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudentResult:
    """The runs behind the table that ``pkdot-distill`` prints; teacher and control only where there is one."""

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

    Raises ``ValueError`` for data or settings that cannot be used, before anything is written, and ``Interrupted``
    after Ctrl-C.
    """
    find_device(config.run.device)
    study = open_study(config.data, config.optim, config.run.seed)
    build_criteria(config.distill, study.schema.task, student_width=1, teacher_width=1, samples=1)
    warn_of_classes(study)
    teacher = teacher_for(config, study) if needs_teacher(config) else None
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
    """Put the other models' figures into the student's ``result.json``."""
    others = {"teacher": result.teacher, "control": result.control}
    metrics = {f"{role}_metrics": run.metrics for role, run in others.items() if run is not None}
    told = {**result.student.result, **metrics, "gap_closed": result.gap_closed}
    if told != result.student.result:
        write_result(result.student.folder.result, told)
    return replace(result, student=RunResult(result.student.folder, told))


@trainer(StudentRunConfig)
def train_student(config: StudentRunConfig, study: Study, folder: RunFolder | None = None) -> RunResult:
    """Train one student with the teacher in ``config.teacher``, select on the validation split, and test once.

    ``folder`` is used as it is; without it a new one is made, or the one in ``config.run.resume`` is resumed. A
    finished run is not repeated, and one that was begun with other settings or data is refused.
    """
    device = find_device(config.run.device)
    folder = folder or (open_run_folder(config.run.resume) if config.run.resume else None)
    config = replace(config, optim=resolved(config.optim, len(study.splits.train)))
    fingerprint = student_fingerprint(config, study, teacher_digest(config.teacher))
    if folder and (finished := finished_run(folder, fingerprint)):
        return finished
    schema, seed = study.schema, config.run.seed
    names = schema.prevalent
    train, validation = study.train(), study.validation()
    preload(train, validation)
    torch.manual_seed(seed)
    model = build(STUDENTS[config.model.student], schema, config.model).to(device)
    teacher = FrozenTeacher.load(config.teacher, device) if config.teacher else None
    clean = config.distill.teacher_input == "clean" or not config.data.augment
    known = teacher.remember(study.train_clean()) if teacher and clean else None
    distillation = _distillation(config, study, teacher, known, device)
    objective = StudentObjective(
        model, schema.task, names, validation, device, distillation=distillation, teacher=teacher
    )
    drawn = teacher if config.run.picture_epochs else None
    pictures = StructurePictures(drawn, objective, study, names, config, device) if drawn else None
    metadata = describe("student", study, asdict(config.model)) | {"distill": asdict(config.distill)}
    folder = folder or new_run_folder(
        config.run.out, config.run.name or f"{_file_name(config.distill.method)}-{schema.name}"
    )
    with held(folder, config, fingerprint):
        if finished := finished_run(folder, fingerprint):  # by another process, while this one prepared
            return finished
        if not folder.last.exists():
            objective.weights = initial_weights(config.distill, objective, study, seed)
        fit(
            objective,
            train,
            config.optim,
            config.run,
            folder,
            device=device,
            metadata=metadata,
            title=f"student {config.distill.method}",
            on_epoch=pictures.on_epoch if pictures else None,
        )
        more = {
            "method": config.distill.method,
            "weights": objective.weights,
            "teacher": _name(config.teacher),
            "fingerprint": fingerprint.digest,
        }
        result = test(objective, study, folder, names, device, metadata, **more)
        if pictures:
            pictures.save(folder)
    return RunResult(folder, result)


def _distillation(
    config: StudentRunConfig,
    study: Study,
    teacher: FrozenTeacher | None,
    known: Predictions | None,
    device: torch.device,
) -> Distillation:
    """The losses of the method, and the aligned teachers where one of them chooses; ``known`` saves asking again."""
    task, width = study.schema.task, config.model.width
    rows = {record.id: row for row, record in enumerate(study.records(study.splits.train))}
    criteria = build_criteria(
        config.distill,
        task,
        student_width=width,
        teacher_width=teacher.width if teacher else width,
        samples=len(rows),
    )
    pool: TeacherPool | None = None
    if teacher and any("teachers" in getattr(criterion, "needs", ()) for criterion in criteria.values()):
        known, validation = known or teacher.predict(study.train_clean()), teacher.predict(study.validation())
        epochs, seed = config.distill.alignment_epochs, config.run.seed
        pool = align(known, validation, task, epochs=epochs, seed=seed, device=device)
    shares = parse_method(config.distill.method)
    return Distillation(criteria, shares, task, rows=rows, pool=pool).to(device)


def initial_weights(config: DistillConfig, objective: StudentObjective, study: Study, seed: int) -> dict[str, float]:
    """The weights of the distillation losses: given, in their shares, or balanced on the first batches."""
    shares = parse_method(config.method)
    if config.method == "none":
        return {"none": 0.0}
    if config.weight != "auto":
        return {name: float(config.weight) * share for name, share in shares.items()}
    factor = balance_factor(config.balance, study.label_share)
    weights = objective.balance(study.train(), factor, seed)
    told = ", ".join(f"{name} {weight:.4g}" for name, weight in weights.items())
    warn(absurd_weights(weights, factor))
    log.info("distillation weight %s (gradient-balanced, factor %g)", told, factor)
    return weights


def needs_teacher(config: StudentRunConfig) -> bool:
    """A method other than none needs a teacher, and so does a student that learns from the teacher's streams."""
    return config.distill.method != "none" or issubclass(STUDENTS[config.model.student], Hallucinates)


def control_of(config: StudentRunConfig, student: RunFolder) -> StudentRunConfig:
    """The same student, seed and budget without a teacher; a hallucinating student's control is the plain one."""
    hallucinates = issubclass(STUDENTS[config.model.student], Hallucinates)
    model = replace(config.model, student="visual") if hallucinates else config.model
    run = replace(config.run, out=student.path, name="control", resume=None)
    return replace(config, model=model, distill=DistillConfig(method="none"), run=run, teacher=None, with_control=False)


def _file_name(method: str) -> str:
    return method.replace("*", "x").replace(" ", "")


def _name(path: Path | None) -> str | None:
    return str(path) if path else None
