"""``pkdot-distill``: distil a teacher into a student that needs the prevalent modalities only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pkdot.cli.arguments import RECIPE, parse
from pkdot.cli.console import run_command, shown, table
from pkdot.config import StudentRunConfig

if TYPE_CHECKING:
    from pkdot.training.student import StudentResult

COMMAND = "pkdot-distill"
DESCRIPTION = f"""Distil a teacher into a student that needs only the prevalent modalities, and test it on new subjects.

Prevalent modalities are there after deployment; privileged ones only in training. Without --teacher, the command uses
the newest teacher in --out with the same data, settings and seed, or trains one first.
{RECIPE}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command(COMMAND, lambda: _distill(argv))


def _distill(argv: Sequence[str] | None) -> None:
    config = parse(StudentRunConfig, argv, command=COMMAND, description=DESCRIPTION)
    from pkdot.training.student import distill  # torch: not for --help

    report(distill(config))


def report(result: "StudentResult") -> None:
    """Print the table of metrics, the gap closed and the run folder.

    >>> from pathlib import Path
    >>> from pkdot.training.run_folder import RunFolder, RunResult
    >>> from pkdot.training.student import StudentResult
    >>> told = {"method": "ot", "data": "toy", "samples": 24, "subjects": 4, "metrics": {"accuracy": 0.75}}
    >>> report(StudentResult(RunResult(RunFolder(Path("runs/1")), told), teacher=None, control=None))
    toy test      accuracy
    ----------------------
    student (ot)    0.7500
    <BLANKLINE>
    24 samples of 4 subjects; run folder runs/1
    """
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
