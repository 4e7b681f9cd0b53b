"""``pkdot-compare``: distillation methods against each other, over data sets, label shares, folds and seeds."""

import shlex
from collections.abc import Sequence

from pkdot.cli.arguments import parse
from pkdot.cli.console import run_command, shown
from pkdot.comparison.config import CompareConfig

COMMAND = "pkdot-compare"
DESCRIPTION = """Compare distillation methods over data sets, label shares, folds and seeds, with paired statistics.

Every method gets the same budget: its weight is chosen on validation splits, and then it is tested over paired seeds.
Four controls are tested with it: the undistilled student, self-training, distillation from a teacher without the
privileged modalities, and the teacher. Finished runs are not repeated: run the same command again to continue.
--recipe FILE.toml reads settings from a file. Flags override it.
--dry-run counts the runs and estimates their time."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command(COMMAND, lambda: _compare(argv))


def _compare(argv: Sequence[str] | None) -> None:
    import sys

    config = parse(CompareConfig, argv, command=COMMAND, description=DESCRIPTION)
    from pkdot.comparison.compare import compare  # torch: not for --help
    from pkdot.comparison.dry_run import dry_run

    if config.dry_run:
        print(dry_run(config))
        return
    words = list(sys.argv[1:] if argv is None else argv)
    place = compare(config, shlex.join([COMMAND, *words]))
    print(f"{'report' if place.is_file() else 'runs'}: {shown(place)}")
