"""One run of a comparison: what is trained, where its folder lies, and whether it is finished."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from pkdot.config import StudentRunConfig, TeacherRunConfig
from pkdot.training.fingerprint import Fingerprint
from pkdot.training.run_folder import RunFolder

Stage = Literal["tune", "test"]


@dataclass(frozen=True)
class Cell:
    """Where runs are compared with each other: they share the data, the split, the labels and the seed."""

    data: str
    regime: str
    stage: Stage
    fold: int
    seed: int

    @property
    def block(self) -> tuple[str, str]:
        """The data set and the regime."""
        return self.data, self.regime


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        cell: where it belongs.
        entry: its line in the tables.
        config: of the student, or of a teacher.
        fingerprint: of everything that decides its result.
        place: the folder of its entry; runs of the entry with other settings or data lie there too.
        factor: the factor on the balanced weight, if several are tried.
    """

    cell: Cell
    entry: str
    config: StudentRunConfig | TeacherRunConfig
    fingerprint: Fingerprint = field(repr=False)
    place: Path
    factor: float | None = None

    @property
    def folder(self) -> Path:
        """The run folder, named by the fingerprint."""
        return self.place / self.fingerprint.digest

    @cached_property
    def absolute_folder(self) -> Path:
        """The run folder as an absolute path, by which a student's config names its teacher."""
        return self.folder.resolve()

    @property
    def is_teacher(self) -> bool:
        """Whether this run trains a teacher, which students wait for."""
        return isinstance(self.config, TeacherRunConfig)

    @property
    def teacher(self) -> Path | None:
        """The run folder of a student's teacher, as an absolute path."""
        return self.config.teacher if isinstance(self.config, StudentRunConfig) else None

    @property
    def done(self) -> bool:
        """Whether it has been tested with these settings and these data."""
        try:
            result = json.loads(RunFolder(self.folder).result.read_text(encoding="utf-8"))
            return bool(result["fingerprint"] == self.fingerprint.digest)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False


def distinct(runs: Iterable[Run]) -> list[Run]:
    """The runs with each folder once, in their order: some entries share a folder."""
    return list({run.folder: run for run in runs}.values())


def with_shared_folders(runs: Iterable[Run]) -> list[Run]:
    """Give runs of one cell that have the same fingerprint the same folder, so that they are trained once.

    A teacher that only concatenates is such a case: without the privileged modalities it is the student's own
    architecture. Teachers come before their students.
    """
    first: dict[tuple[Cell, str], Path] = {}
    moved: dict[Path, Path] = {}
    found = []
    for run in runs:
        config = run.config
        if isinstance(config, StudentRunConfig) and config.teacher is not None and config.teacher in moved:
            config = replace(config, teacher=moved[config.teacher])
        place = first.setdefault((run.cell, run.fingerprint.digest), run.place)
        same = run if config is run.config and place == run.place else replace(run, config=config, place=place)
        if place != run.place:
            moved[run.absolute_folder] = same.absolute_folder
        found.append(same)
    return found


def aliases(runs: Sequence[Run]) -> dict[tuple[str, ...], list[str]]:
    """Entries whose students are the same runs, with the data sets on which they coincide."""
    entries: dict[tuple[str, Path], list[str]] = {}
    for run in runs:
        if not run.is_teacher:
            entries.setdefault((run.cell.data, run.folder), []).append(run.entry)
    found: dict[tuple[str, ...], list[str]] = {}
    for (data, _), own in entries.items():
        if len(own) > 1 and data not in found.setdefault(tuple(own), []):
            found[tuple(own)].append(data)
    return found


def block_folder(out: Path, data: str, regime: str) -> Path:
    """The folder of a data set in a regime.

    >>> block_folder(Path("out"), "digits", "few labels").as_posix()
    'out/digits/few-labels'
    """
    return out / slug(data) / slug(regime)


def slug(name: str) -> str:
    """A name as a folder's: lower-case letters, digits, points and hyphens.

    >>> slug("KL, ot's columns")
    'kl-ot-s-columns'
    """
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.").lower() or "unnamed"
