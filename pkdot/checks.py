"""Checks of what a user gave, each of which raises a ``ValueError`` in one line. Nothing here imports torch."""

import ast
import difflib
import sys
import tomllib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def names_in(module: str, dictionary: str) -> tuple[str, ...]:
    """The keys of a module-level dict literal, without importing the module: it may need torch, and help must not.

    Once the module is imported its live dict is read instead, so that a user's own entry counts.
    """
    live = getattr(sys.modules.get(module), dictionary, None)
    if live is not None:
        return tuple(live)
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"no module {module!r}")
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if isinstance(node.value, ast.Dict) and any(isinstance(t, ast.Name) and t.id == dictionary for t in targets):
            return tuple(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    raise ValueError(f"{module} has no dict literal {dictionary}")


def check_choice(what: str, value: str, choices: Iterable[str]) -> None:
    """Raise a ``ValueError`` that names the choices, and the one that was probably meant."""
    choices = list(choices)
    if value in choices:
        return
    near = difflib.get_close_matches(value, choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{what} {value!r} is not one of {', '.join(choices)}.{hint}")


def check_range(what: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise a ``ValueError`` unless ``low <= value <= high`` (``low < value`` if ``open_low``)."""
    if not (low < value if open_low else low <= value) or not value <= high:
        raise ValueError(f"{what} {value} is outside {'(' if open_low else '['}{low}, {high}].")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file that a flag names. Raises ``ValueError`` that names the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid TOML ({error}).") from error
