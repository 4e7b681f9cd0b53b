"""Whose knowledge a student distils: the teacher that was named, the newest one that fits, or a new one."""

import logging
from pathlib import Path
from typing import Any

from pkdot.config import RunConfig, StudentRunConfig, TeacherRunConfig
from pkdot.data.study import Study, check_same_data
from pkdot.students import STUDENTS
from pkdot.teachers import TEACHERS
from pkdot.training.evaluation import read_result
from pkdot.training.fingerprint import NO_TEACHER, Fingerprint, read_fingerprint, teacher_fingerprint
from pkdot.training.objectives import Hallucinates
from pkdot.training.run import RunResult
from pkdot.training.run_folder import RunFolder, open_run_folder
from pkdot.training.teacher import seen_by_teacher, teach
from pkdot.training.trained import load_model, load_trained

log = logging.getLogger(__name__)

_OF_A_TEACHER = ("data", "split_digest", "label_digest", "label_share", "primary_metric")


def teacher_for(config: StudentRunConfig, study: Study) -> RunResult | None:
    """The teacher of a student's run; None where the run needs none.

    A named teacher is used as it is, with a warning about every difference from what this run would train. Otherwise
    the newest teacher in ``out`` whose fingerprint is that of a new one is reused; without one, a teacher is trained.
    """
    if not needs_teacher(config):
        return None
    wanted = as_teacher(config)
    asked = teacher_fingerprint(wanted, seen_by_teacher(wanted, study))
    if config.teacher is not None:
        return _named(config.teacher, study, asked)
    found = newest_teacher(config.run.out, study, asked)
    if found is not None:
        log.info("teacher: %s (the newest that fits)", found.folder.path)
        return found
    return teach(wanted, study)


def needs_teacher(config: StudentRunConfig) -> bool:
    """Every method but "none" needs a teacher, and so does a student that learns from the teacher's streams.

    >>> from pkdot.config import DistillConfig
    >>> needs_teacher(StudentRunConfig(distill=DistillConfig(method="none")))
    False
    """
    return config.distill.method != "none" or issubclass(STUDENTS[config.model.student], Hallucinates)


def as_teacher(config: StudentRunConfig) -> TeacherRunConfig:
    """The teacher that a student's command trains where there is none."""
    run = RunConfig(
        out=config.run.out,
        seed=config.run.seed,
        device=config.run.device,
        threads=config.run.threads,
        checkpoint_steps=config.run.checkpoint_steps,
    )
    return TeacherRunConfig(config.data, config.model, config.optim, run)


def teacher_digest(path: Path | None) -> str:
    """What names a teacher in its student's fingerprint: its own, or its weights where an older version trained it."""
    if path is None:
        return NO_TEACHER
    folder = open_run_folder(path)
    if folder.fingerprint.exists():
        return read_fingerprint(folder.fingerprint).digest
    return f"weights {load_model(folder.best)[1]['sha256']}"


def newest_teacher(out: Path, study: Study, asked: Fingerprint) -> RunResult | None:
    """The newest finished teacher in ``out`` with this fingerprint; without one, a line says why none fits."""
    why = ""
    for result in sorted(out.glob("*/result.json"), key=_age, reverse=True):
        folder = RunFolder(result.parent)
        try:
            found = _teacher_result(folder)
            if found is None or found["data"] != study.schema.name:
                continue
            differing = read_fingerprint(folder.fingerprint).differences(asked)
            if not differing:
                load_trained(folder, TEACHERS, "teacher")  # it is whole
                return RunResult(folder, found)
        except ValueError as error:
            log.warning("passed over %s: %s", folder.path, error)
            continue
        why = why or f"the newest one, {folder.path}, has {', '.join(differing)}"
    log.info("training a teacher first: %s", why or f"none in {out} was trained on {study.schema.name}")
    return None


def _named(path: Path, study: Study, asked: Fingerprint) -> RunResult:
    folder = _run_in(path)
    result = _teacher_result(folder)
    if result is None:
        raise ValueError(f"{folder.path}: holds a student, not a teacher.")
    trained = load_trained(folder, TEACHERS, "teacher")
    check_same_data(folder.path, trained.schema, result["split_digest"], study)
    if result["label_digest"] != study.label_digest:
        log.warning(
            "%s was trained with %.0f %% of the labels and the student has %.0f %%: what the student gains may "
            "come from the teacher's labels, not from the privileged modality.",
            folder.path,
            100 * result["label_share"],
            100 * study.label_share,
        )
    if not folder.fingerprint.exists():
        log.warning("%s does not say how it was trained: an older version made it.", folder.path)
        return RunResult(folder, result)
    # The seed of a named teacher is its own, and of its labels more was said above.
    differing = read_fingerprint(folder.fingerprint).differences(asked, but=("seed", "data.labels"))
    if differing:
        log.warning("%s is not what this run would train: it has %s.", folder.path, ", ".join(differing))
    return RunResult(folder, result)


def _run_in(path: Path) -> RunFolder:
    """The run folder that was named, or the one teacher run in a folder of runs."""
    if (path / "config.toml").exists() or not path.is_dir():
        return open_run_folder(path)
    teachers = [file.parent for file in sorted(path.glob("*/result.json")) if _is_teacher(file)]
    if len(teachers) != 1:
        found = ", ".join(teacher.name for teacher in teachers) or "none"
        raise ValueError(f"{path}: expected a run folder, or a folder with one teacher run in it; found {found}.")
    return open_run_folder(teachers[0])


def _is_teacher(result: Path) -> bool:
    try:
        return read_result(result).get("kind") == "teacher"
    except ValueError:
        return False


def _teacher_result(folder: RunFolder) -> dict[str, Any] | None:
    """The result of a teacher's run; None for a student's. Raises ``ValueError`` for what is neither."""
    result = read_result(folder.result)
    if result.get("kind") == "student":
        return None
    lacking = [name for name in _OF_A_TEACHER if name not in result]
    if result.get("kind") != "teacher" or lacking:
        raise ValueError(f"{folder.result}: not the result of a teacher's run (lacks {', '.join(lacking) or 'kind'}).")
    return result


def _age(result: Path) -> tuple[float, Path]:
    try:
        return result.stat().st_mtime, result
    except OSError:
        return 0.0, result
