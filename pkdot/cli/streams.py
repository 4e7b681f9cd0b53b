"""Standard streams that may be closed, full, or too old for what is written to them."""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


def prepare_streams() -> None:
    """Point what is closed at nothing, and write what an encoding lacks as an escape instead of failing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # The lowest free number is the closed stream's own, which the next file would get, and with it the output.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence_if_broken(stream: TextIO) -> None:
    """Send to nothing what a full disk or a closed pipe did not take, or the interpreter fails on it at its exit."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())
