"""``pkdot-train-teacher``: train a teacher on all modalities."""

from collections.abc import Sequence

from pkdot.cli.arguments import RECIPE, parse
from pkdot.cli.console import run_command, shown, table
from pkdot.config import TeacherRunConfig

COMMAND = "pkdot-train-teacher"
DESCRIPTION = f"""Train a teacher on all modalities of a data set and test it once.

The epoch that is best on the validation subjects is kept.
{RECIPE}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command(COMMAND, lambda: _train(argv))


def _train(argv: Sequence[str] | None) -> None:
    config = parse(TeacherRunConfig, argv, command=COMMAND, description=DESCRIPTION)
    from pkdot.training.teacher import train_teacher  # torch: not for --help

    run = train_teacher(config)
    print(table({"teacher": run.metrics}, f"{run.result['data']} test"))
    print(
        f"\n{run.result['samples']} samples of {run.result['subjects']} subjects; run folder {shown(run.folder.path)}"
    )
