"""``pkdot-distill``: distil a teacher into a student that needs the prevalent modalities only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pkdot.cli.arguments import parse
from pkdot.cli.console import run_command, shown, table
from pkdot.config import StudentRunConfig

if TYPE_CHECKING:
    from pkdot.training.student import StudentResult

COMMAND = "pkdot-distill"
DESCRIPTION = """Distil a teacher into a student that needs the prevalent modalities only, and test it on new subjects.

Without --teacher, a teacher in --out is used if it was trained on the same data with the same settings and seed;
else one is trained first.
--recipe FILE.toml takes settings from a file (a run folder's config.toml repeats that run); flags win over it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(COMMAND, lambda: _distill(argv))


def _distill(argv: Sequence[str] | None) -> None:
    config = parse(StudentRunConfig, argv, command=COMMAND, description=DESCRIPTION)
    from pkdot.training.student import distill  # torch: not for --help

    report(distill(config))


def report(result: "StudentResult") -> None:
    """Print the table, the gap closed and where the run lies."""
    student = result.student.result
    rows = {"teacher": result.teacher.metrics} if result.teacher else {}
    rows[f"student ({student['method']})"] = result.student.metrics
    if result.control:
        rows["control (no teacher)"] = result.control.metrics
    print(table(rows, f"{student['data']} test"))
    print()
    if result.control and result.teacher:
        closed = result.gap_closed
        told = "none to close: the teacher is not ahead of the control" if closed is None else f"{100 * closed:.1f} %"
        print(f"gap closed ({student['primary_metric']}): {told}")
    place = shown(result.student.folder.path)
    print(f"{student['samples']} samples of {student['subjects']} subjects; run folder {place}")
