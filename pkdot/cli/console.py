"""What a command tells a person: tables on stdout, progress and errors on stderr, and an exit code."""

import logging
import os
import sys
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pkdot.comparison.config import RunsFailed
from pkdot.training.interrupt import Interrupted

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130


def run_command(command: str, action: Callable[[], None]) -> int:
    """Run a command's body: a user's mistake is one line and code 2, Ctrl-C one line and code 130.

    Set PKDOT_TRACEBACK=1 to see where an error was raised.
    """
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("pkdot").setLevel(logging.INFO)
    warnings.showwarning = _show_warning
    try:
        action()
    except Interrupted as stopped:
        going_on = f"{_command_of(stopped.folder) or command} --resume {shown(stopped.folder)}"
        return _end(command, f"stopped; the state is saved. Go on with {going_on}", STOPPED)
    except KeyboardInterrupt:
        return _end(command, "stopped before training began; nothing was saved.", STOPPED)
    except BrokenPipeError:
        # Whoever read the table has gone; the interpreter must not try to flush into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except RunsFailed as error:
        return _end(command, f"error: {_one_line(error)}", FAILED)
    except Exception as error:
        if os.environ.get("PKDOT_TRACEBACK"):
            raise
        if isinstance(error, ValueError | OSError):
            return _end(command, f"error: {_one_line(error)}", BAD_INPUT)
        told = f"{type(error).__name__}: {_one_line(error)}"
        return _end(command, f"error: {told} (unexpected; PKDOT_TRACEBACK=1 shows where)", FAILED)
    return OK


def table(rows: Mapping[str, Mapping[str, float | None]], title: str) -> str:
    """Rows of figures under the union of their columns, aligned."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = [[title, *columns]]
    cells += [[name, *(_figure(row.get(column)) for column in columns)] for name, row in rows.items()]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns) + 1)]
    lines = ["  ".join(_pad(line, widths)) for line in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def shown(path: Path) -> str:
    """A path relative to the current folder where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _command_of(folder: Path) -> str | None:
    """The command whose run this is: the teacher that ``pkdot-distill`` trains first is ``pkdot-train-teacher``'s."""
    try:
        return str(tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))["command"])
    except (OSError, ValueError, KeyError):
        return None


def _pad(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _end(command: str, message: str, code: int) -> int:
    print(f"{command}: {message}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
