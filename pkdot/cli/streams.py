"""Standard streams that may be closed or full, or may lack letters."""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


def prepare_streams() -> None:
    """Replace closed streams by the null device, and write letters that an encoding lacks as escapes.

    >>> prepare_streams()
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # Otherwise the next opened file gets the number of the closed stream, and so receives its output.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence_if_broken(stream: TextIO) -> None:
    """Discard output that a full disk or a closed pipe refused; Python would otherwise fail when it exits.

    >>> silence_if_broken(sys.stdout)
    """
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())
