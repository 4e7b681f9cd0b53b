"""``pkdot-evaluate``: the metrics of a trained model on a split of its own data set or of another one."""

from collections.abc import Sequence

from pkdot.cli.arguments import parse
from pkdot.cli.console import run_command, table
from pkdot.config import EvaluateConfig

COMMAND = "pkdot-evaluate"
DESCRIPTION = "Evaluate a trained teacher or student on a split of its own data set or of another one."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command(COMMAND, lambda: _evaluate(argv))


def _evaluate(argv: Sequence[str] | None) -> None:
    config = parse(EvaluateConfig, argv, command=COMMAND, description=DESCRIPTION)
    from pkdot.training.reevaluation import evaluate  # torch: not for --help

    evaluation = evaluate(config)
    print(table({evaluation.kind: evaluation.metrics}, f"{evaluation.data} {config.split}"))
    print(f"\n{evaluation.samples} labelled samples of {evaluation.subjects} subjects")
