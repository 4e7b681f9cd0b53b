"""What a command tells a person: tables on stdout, progress and errors on stderr, and an exit code."""

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
    """Run a command's body: a user's mistake is one line and code 2, Ctrl-C one line and code 130.

    Set PKDOT_TRACEBACK=1 to see where an error was raised.
    """
    prepare_streams()
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("pkdot").setLevel(logging.INFO)
    warnings.showwarning = _show_warning
    try:
        try:
            action()
        finally:
            sys.stdout.flush()  # here, where a full disk can still be told
    except Interrupted as stopped:
        going_on = f"{_command_of(stopped.folder) or command} --resume {shown(stopped.folder)}"
        return _end(command, f"stopped; the state is saved. Go on with {going_on}", STOPPED)
    except KeyboardInterrupt:
        return _end(command, "stopped before training began; nothing was saved.", STOPPED)
    except BrokenPipeError:
        return _end(command, None, OK)  # whoever read the table has gone
    except RunsFailed as error:
        return _end(command, f"error: {_one_line(error)}", FAILED)
    except Exception as error:
        if os.environ.get("PKDOT_TRACEBACK"):
            raise
        if isinstance(error, ValueError | OSError | ImportError):
            return _end(command, f"error: {_one_line(error)}", BAD_INPUT)
        if _is_out_of_memory(error):
            told = "out of memory; try a smaller --batch-size or --width, or fewer --frames"
            return _end(command, f"error: {told} ({_one_line(error)})", BAD_INPUT)
        told = f"{type(error).__name__}: {_one_line(error)}"
        return _end(command, f"error: {told} (unexpected; PKDOT_TRACEBACK=1 shows where)", FAILED)
    return _end(command, None, OK)


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


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Python, or torch on a CPU or GPU, could not have the memory that was asked for."""
    told = str(error).lower()
    return isinstance(error, MemoryError) or "can't allocate memory" in told or "out of memory" in told


def _end(command: str, message: str | None, code: int) -> int:
    if message is not None:
        _tell(f"{command}: {message}")
    for stream in (sys.stdout, sys.stderr):
        silence_if_broken(stream)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _tell(f"warning: {' '.join(str(message).split())}")


def _tell(line: str) -> None:
    with suppress(OSError):  # nobody can be told that nobody can be told
        print(line, file=sys.stderr)
