"""Distilling a teacher into a student that needs the prevalent modalities only."""

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from pkdot.config import DistillConfig, RunConfig, StudentRunConfig, TeacherRunConfig, parse_method
from pkdot.students import STUDENTS
from pkdot.training.alignment import TeacherPool, align
from pkdot.training.device import prepare_device
from pkdot.training.distillation import Distillation, build_criteria
from pkdot.training.evaluation import Predictions, read_result, write_result
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.loop import fit
from pkdot.training.objectives import Hallucinates, StudentObjective
from pkdot.training.pictures import StructurePictures
from pkdot.training.preparation import Prepared, check_same_data, prepare
from pkdot.training.run_folder import RunFolder, new_run_folder, open_run_folder, removed_unless_resumable
from pkdot.training.schedule import resolved
from pkdot.training.teacher import RunResult, describe, preload, test, train_teacher

log = logging.getLogger(__name__)

FEW_LABELS_BALANCE, ALL_LABELS_BALANCE = 8.0, 0.5
"""Factors on a balanced weight that served best with few and with all labels."""


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


def distill(config: StudentRunConfig) -> StudentResult:
    """Find or train the teacher, train the student, and with ``with_control`` the undistilled student too.

    Raises ``ValueError`` for data or settings that cannot be used, before anything is written, and ``Interrupted``
    after Ctrl-C.
    """
    prepare_device(config.run)
    prepared = prepare(config.data, config.optim, config.run.seed)
    build_criteria(config.distill, prepared.schema.task, student_width=1, teacher_width=1, samples=1)
    teacher = teacher_for(config, prepared) if needs_teacher(config) else None
    if teacher is not None:
        config = replace(config, teacher=teacher.folder.path.resolve())
    student = train_student(config, prepared)
    control = None
    if config.with_control:
        control = train_student(
            control_of(config, student.folder), prepared, RunFolder(student.folder.path / "control")
        )
    return _with_comparison(StudentResult(student, teacher, control))


def _with_comparison(result: StudentResult) -> StudentResult:
    """Put the other models' figures into the student's ``result.json``."""
    others = {"teacher": result.teacher, "control": result.control}
    metrics = {f"{role}_metrics": run.metrics for role, run in others.items() if run is not None}
    told = {**result.student.result, **metrics, "gap_closed": result.gap_closed}
    if told != result.student.result:
        write_result(result.student.folder.result, told)
    return replace(result, student=RunResult(result.student.folder, told))


def train_student(config: StudentRunConfig, prepared: Prepared, folder: RunFolder | None = None) -> RunResult:
    """Train one student with the teacher in ``config.teacher``, select on the validation split, and test once.

    ``folder`` is used as it is; without it a new one is made, or the one in ``config.run.resume`` is gone on with.
    """
    folder = folder or (open_run_folder(config.run.resume) if config.run.resume else None)
    if folder and folder.result.exists():
        return RunResult(folder, read_result(folder.result))
    config = replace(config, optim=resolved(config.optim, len(prepared.splits.train)))
    device = prepare_device(config.run)
    schema, seed = prepared.schema, config.run.seed
    names = schema.prevalent
    train, validation = prepared.train(), prepared.validation()
    preload(train, validation)
    torch.manual_seed(seed)
    model = STUDENTS[config.model.student](schema, config.model).to(device)
    teacher = FrozenTeacher.load(config.teacher, device) if config.teacher else None
    clean = config.distill.teacher_input == "clean" or not config.data.augment
    known = teacher.remember(prepared.train_clean()) if teacher and clean else None
    distillation = _distillation(config, prepared, teacher, known, device)
    objective = StudentObjective(
        model, schema.task, names, validation, device, distillation=distillation, teacher=teacher
    )
    drawn = teacher if config.run.picture_epochs else None
    pictures = StructurePictures(drawn, objective, prepared, names, config, device) if drawn else None
    metadata = describe("student", prepared, asdict(config.model)) | {"distill": asdict(config.distill)}
    folder = folder or new_run_folder(
        config.run.out, config.run.name or f"{_file_name(config.distill.method)}-{schema.name}"
    )
    folder.path.mkdir(parents=True, exist_ok=True)
    with removed_unless_resumable(folder):
        folder.begin(config)
        if not folder.last.exists():
            objective.weights = initial_weights(config.distill, objective, prepared, seed)
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
        more = {"method": config.distill.method, "weights": objective.weights, "teacher": _name(config.teacher)}
        result = test(objective, prepared, folder, names, device, metadata, **more)
        if pictures:
            pictures.save(folder)
    return RunResult(folder, result)


def _distillation(
    config: StudentRunConfig,
    prepared: Prepared,
    teacher: FrozenTeacher | None,
    known: Predictions | None,
    device: torch.device,
) -> Distillation:
    """The losses of the method, and the aligned teachers where one of them chooses; ``known`` saves asking again."""
    task, width = prepared.schema.task, config.model.width
    rows = {record.id: row for row, record in enumerate(prepared.records(prepared.splits.train))}
    criteria = build_criteria(
        config.distill,
        task,
        student_width=width,
        teacher_width=teacher.width if teacher else width,
        samples=len(rows),
    )
    pool: TeacherPool | None = None
    if teacher and any("teachers" in getattr(criterion, "needs", ()) for criterion in criteria.values()):
        known, validation = known or teacher.predict(prepared.train_clean()), teacher.predict(prepared.validation())
        epochs, seed = config.distill.alignment_epochs, config.run.seed
        pool = align(known, validation, task, epochs=epochs, seed=seed, device=device)
    shares = parse_method(config.distill.method)
    return Distillation(criteria, shares, task, rows=rows, pool=pool).to(device)


def initial_weights(
    config: DistillConfig, objective: StudentObjective, prepared: Prepared, seed: int
) -> dict[str, float]:
    """The weights of the distillation losses: given, in their shares, or balanced on the first batches."""
    shares = parse_method(config.method)
    if config.method == "none":
        return {"none": 0.0}
    if config.weight != "auto":
        return {name: float(config.weight) * share for name, share in shares.items()}
    factor = config.balance
    if factor == "auto":
        factor = ALL_LABELS_BALANCE if prepared.label_share >= 0.5 else FEW_LABELS_BALANCE
    weights = objective.balance(prepared.train(), factor, seed)
    told = ", ".join(f"{name} {weight:.4g}" for name, weight in weights.items())
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


def teacher_for(config: StudentRunConfig, prepared: Prepared) -> RunResult:
    """The teacher that was named, the newest one in ``out`` that fits, or a new one."""
    if config.teacher is not None:
        folder = open_run_folder(config.teacher)
        result = read_result(folder.result)
        if result.get("kind") != "teacher":
            raise ValueError(f"{folder.path}: holds a {result.get('kind')}, not a teacher.")
        teacher = FrozenTeacher.load(folder.path, torch.device("cpu"))
        check_same_data(folder.path, teacher.schema, result["split_digest"], prepared)
        if result["label_digest"] != prepared.label_digest():
            log.warning(
                "%s was trained with %.0f %% of the labels and the student has %.0f %%: what the student gains may "
                "come from the teacher's labels, not from the privileged modality.",
                folder.path,
                100 * result["label_share"],
                100 * prepared.label_share,
            )
        return RunResult(folder, result)
    found = newest_teacher(config.run.out, prepared)
    if found is not None:
        log.info("teacher: %s (the newest that fits)", found.folder.path)
        return found
    log.info("no teacher in %s fits %s: training one first", config.run.out, prepared.config.source)
    run = RunConfig(
        out=config.run.out, seed=config.run.seed, device=config.run.device, checkpoint_steps=config.run.checkpoint_steps
    )
    return train_teacher(TeacherRunConfig(config.data, config.model, config.optim, run), prepared)


def newest_teacher(out: Path, prepared: Prepared) -> RunResult | None:
    """The newest finished teacher in ``out`` that was trained on the same samples, with the same labels and task."""
    wanted = (prepared.schema.name, prepared.split_digest(), prepared.label_digest())
    for path in sorted(out.glob("*/result.json"), key=lambda file: (file.stat().st_mtime, file), reverse=True):
        try:
            result = read_result(path)
            if result.get("kind") != "teacher":
                continue
            if (result["data"], result["split_digest"], result["label_digest"]) != wanted:
                continue
            folder = RunFolder(path.parent)
            teacher = FrozenTeacher.load(folder.path, torch.device("cpu"))
            if not teacher.schema.privileged:
                continue
            check_same_data(folder.path, teacher.schema, result["split_digest"], prepared)
        except (ValueError, KeyError) as error:
            log.warning("passed over %s: %s", path.parent, error)
            continue
        return RunResult(folder, result)
    return None


def _file_name(method: str) -> str:
    return method.replace("*", "x").replace(" ", "")


def _name(path: Path | None) -> str | None:
    return str(path) if path else None
