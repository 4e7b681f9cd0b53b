"""Settings in TOML files: recipes, grids and the config of a run. No import of torch."""

import tomllib
from pathlib import Path
from typing import Any


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file that a flag names.

    Raises:
        ValueError: there is no such file, it cannot be read, or it is not TOML; the message names the file.

    >>> read_toml(Path("nowhere.toml"))
    Traceback (most recent call last):
    ValueError: nowhere.toml: cannot be read (No such file or directory).
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a file.")  # reading from a pipe or a device could take for ever
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid TOML ({error}).") from error
