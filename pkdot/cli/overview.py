"""``pkdot``: a list of the commands."""

import sys
from collections.abc import Sequence

from pkdot.cli import compare, distill, evaluate, train_teacher
from pkdot.cli.console import run_command

COMMANDS = (train_teacher, distill, evaluate, compare)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    pkdot ...
    0
    """
    return run_command("pkdot", lambda: _tell(sys.argv[1:] if argv is None else argv))


def _tell(words: Sequence[str]) -> None:
    if "--version" in words:
        from pkdot.version import __version__

        print(f"pkdot {__version__}")
        return
    names = [command.COMMAND for command in COMMANDS]
    for word in words:
        if word not in ("-h", "--help"):
            raise ValueError(f"unexpected {word!r}; the commands are {', '.join(names)}.")
    width = max(map(len, names))
    print("Commands, each with --help and --version:\n")
    for command in COMMANDS:
        print(f"  {command.COMMAND:{width}}  {command.DESCRIPTION.splitlines()[0]}")
