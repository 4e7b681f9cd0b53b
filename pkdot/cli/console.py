"""The output of a command: tables on stdout, progress and errors on stderr, and an exit code."""

import logging
import os
import sys
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pkdot.cli.streams import prepare_streams, silence_if_broken
from pkdot.comparison.config import RunsFailed
from pkdot.training.interrupt import Interrupted

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130


def run_command(command: str, action: Callable[[], None]) -> int:
    """Run a command and return its exit code. Every error becomes one line on stderr.

    With the environment variable PKDOT_TRACEBACK=1 the traceback is shown.

    Args:
        command: its name, for the messages.
        action: the command.

    Returns:
        0; 2 after a user's mistake; 130 after Ctrl-C; 1 after any other error.

    >>> run_command("pkdot-x", lambda: print("done"))
    done
    0
    """
    prepare_streams()
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("pkdot").setLevel(logging.INFO)
    warnings.showwarning = _show_warning
    try:
        try:
            action()
        finally:
            sys.stdout.flush()  # here an error of a full disk can still be reported
    except Interrupted as stopped:
        resume = f"{_command_of(stopped.folder) or command} --resume {shown(stopped.folder)}"
        return _end(command, f"stopped; the state is saved. To continue: {resume}", STOPPED)
    except KeyboardInterrupt:
        return _end(command, "stopped before training began; nothing was saved.", STOPPED)
    except BrokenPipeError:
        return _end(command, None, OK)  # the program that read the table has ended
    except RunsFailed as error:
        return _end(command, f"error: {_one_line(error)}", FAILED)
    except Exception as error:
        if os.environ.get("PKDOT_TRACEBACK"):
            raise
        if isinstance(error, ValueError | OSError | ImportError):
            return _end(command, f"error: {_one_line(error)}", BAD_INPUT)
        if _is_out_of_memory(error):
            advice = "try a smaller --batch-size or --width, or fewer --frames"
            return _end(command, f"error: out of memory; {advice} ({_one_line(error)})", BAD_INPUT)
        name = type(error).__name__
        return _end(command, f"error: {name}: {_one_line(error)} (unexpected; PKDOT_TRACEBACK=1 shows where)", FAILED)
    return _end(command, None, OK)


def table(rows: Mapping[str, Mapping[str, float | None]], title: str) -> str:
    """A table of numbers as text; a row without a column has an empty cell there.

    >>> print(table({"teacher": {"accuracy": 0.8125}, "student": {"accuracy": 0.75}}, "toy test"))
    toy test  accuracy
    ------------------
    teacher     0.8125
    student     0.7500
    """
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = [[title, *columns]]
    cells += [[name, *(_figure(row.get(column)) for column in columns)] for name, row in rows.items()]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns) + 1)]
    lines = ["  ".join(_pad(line, widths)) for line in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def shown(path: Path) -> str:
    """A path as text, relative to the current folder if it is inside it.

    >>> shown(Path.cwd() / "runs")
    'runs'
    """
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _command_of(folder: Path) -> str | None:
    """The command that resumes a run; for a teacher ``pkdot-train-teacher``, even if ``pkdot-distill`` trained it."""
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


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Python, or torch on a CPU or GPU, ran out of RAM."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or "can't allocate memory" in message or "out of memory" in message


def _end(command: str, message: str | None, code: int) -> int:
    if message is not None:
        _tell(f"{command}: {message}")
    for stream in (sys.stdout, sys.stderr):
        silence_if_broken(stream)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _tell(f"warning: {' '.join(str(message).split())}")


def _tell(line: str) -> None:
    with suppress(OSError):  # without stderr there is no way to report anything
        print(line, file=sys.stderr)
