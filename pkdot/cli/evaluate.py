"""``pkdot-evaluate``: the metrics of a finished run, on its own test split or on other data."""

from collections.abc import Sequence

from pkdot.cli.arguments import parse
from pkdot.cli.console import run_command, table
from pkdot.config import EvaluateConfig

COMMAND = "pkdot-evaluate"
DESCRIPTION = "Evaluate the selected model of a run folder, teacher or student, on a split of its own or of other data."


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(COMMAND, lambda: _evaluate(argv))


def _evaluate(argv: Sequence[str] | None) -> None:
    config = parse(EvaluateConfig, argv, command=COMMAND, description=DESCRIPTION)
    from pkdot.training.reevaluation import evaluate  # torch: not for --help

    evaluation = evaluate(config)
    print(table({evaluation.kind: evaluation.metrics}, f"{evaluation.data} {config.split}"))
    print(f"\n{evaluation.samples} labelled samples of {evaluation.subjects} subjects")
