"""The teacher of a student: the one that was named, the newest one that fits, or a new one."""

import logging
from pathlib import Path

from pkdot.config import RunConfig, StudentRunConfig, TeacherRunConfig
from pkdot.data.study import Study, check_same_data
from pkdot.students import STUDENTS
from pkdot.teachers import TEACHERS
from pkdot.training.fingerprint import Fingerprint, teacher_fingerprint
from pkdot.training.objectives import Hallucinates
from pkdot.training.run_folder import RunResult, finished_runs, named_run
from pkdot.training.teacher import seen_by_teacher, teach
from pkdot.training.trained import load_trained

log = logging.getLogger(__name__)


def teacher_for(config: StudentRunConfig, study: Study) -> RunResult | None:
    """Find or train the teacher of a student's run; None where the run needs none.

    A named teacher is used as it is, with a warning about every difference from the teacher that this run would train.
    Otherwise the newest teacher in ``config.run.out`` that has the fingerprint of a new teacher is reused. If there is
    none, a teacher is trained.

    Args:
        config: the settings of the student's run.
        study: the data.

    Raises:
        ValueError: the named teacher cannot be used.
    """
    if not needs_teacher(config):
        return None
    wanted = as_teacher(config)
    seen = seen_by_teacher(wanted, study)
    asked = teacher_fingerprint(wanted, seen)
    if config.teacher is not None:
        return _named(config.teacher, study, asked)
    return _newest(config.run.out, study, asked) or teach(wanted, seen, asked)


def needs_teacher(config: StudentRunConfig) -> bool:
    """Every method but "none" needs a teacher, and so does a student that learns from the teacher's streams.

    >>> from pkdot.config import DistillConfig
    >>> needs_teacher(StudentRunConfig(distill=DistillConfig(method="none")))
    False
    """
    return config.distill.method != "none" or issubclass(STUDENTS[config.model.student], Hallucinates)


def as_teacher(config: StudentRunConfig) -> TeacherRunConfig:
    """The settings of the teacher that a student's run trains if there is none.

    >>> config = StudentRunConfig(run=RunConfig(seed=3, name="mine"))
    >>> as_teacher(config).run.seed, as_teacher(config).run.name
    (3, '')
    """
    run = RunConfig(
        out=config.run.out,
        seed=config.run.seed,
        device=config.run.device,
        threads=config.run.threads,
        checkpoint_steps=config.run.checkpoint_steps,
    )
    return TeacherRunConfig(config.data, config.model, config.optim, run)


def _newest(out: Path, study: Study, asked: Fingerprint) -> RunResult | None:
    """The newest finished teacher in ``out`` with this fingerprint. If there is none, the log says why none fits."""
    why = ""
    for run in finished_runs(out, "teacher"):
        if run.result["data"] != study.schema.name:
            continue
        try:
            differing = run.folder.differences(asked)
            if not differing:
                load_trained(run.folder, TEACHERS, "teacher")  # raises for a damaged file
                log.info("teacher: %s (the newest that fits)", run.folder.path)
                return run
        except ValueError as error:
            log.warning("passed over %s: %s", run.folder.path, error)
            continue
        why = why or f"the newest one, {run.folder.path}, has {', '.join(differing)}"
    log.info("training a teacher first: %s", why or f"none in {out} was trained on {study.schema.name}")
    return None


def _named(path: Path, study: Study, asked: Fingerprint) -> RunResult:
    """The teacher in a folder. Its differences from the wanted teacher are logged; other data or splits are refused."""
    run = named_run(path, "teacher")
    folder, result = run.folder, run.result
    told = folder.fingerprint.exists()
    # A named teacher has a seed of its own, and a difference in labels has a warning of its own.
    differing = folder.differences(asked, but=("seed", "data.labels")) if told else []
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
    if not told:
        log.warning("%s does not say how it was trained: an older version made it.", folder.path)
    if differing:
        log.warning("%s is not what this run would train: it has %s.", folder.path, ", ".join(differing))
    return run
