"""Checks of what a user gave, each of which raises a ``ValueError`` in one line. Nothing here imports torch."""

import ast
import difflib
import math
import os
import sys
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin


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
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a file.")  # reading from a pipe or a device could take for ever
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid TOML ({error}).") from error


def settle_types(settings: Any) -> None:
    """Give each field of a dataclass the type that it is declared with: a text becomes a path, 1 becomes 1.0.

    Raises:
        ValueError: a value is of another type, or a number is not finite; the message names the field.
    """
    for part in fields(settings):
        try:
            # Past a frozen dataclass's own lock, which is not shut before it is made.
            object.__setattr__(settings, part.name, _settled(getattr(settings, part.name), part.type))
        except TypeError:
            value = getattr(settings, part.name)
            raise ValueError(f"{part.name} is {value!r}; expected {type_in_words(part.type)}.") from None


def check_type(what: str, value: object, kind: type) -> None:
    """Raise a ``ValueError`` unless ``value`` is a ``kind``."""
    if not isinstance(value, kind):
        raise ValueError(f"{what} is {value!r}; expected {type_in_words(kind)}.")


def type_in_words(kind: Any) -> str:
    """What a field takes, from its annotation: "a whole number or auto"."""
    if get_origin(kind) is Annotated:
        return type_in_words(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return _listed([str(choice) for choice in get_args(kind)])
    if get_origin(kind) in (Union, UnionType):
        return _listed([type_in_words(choice) for choice in get_args(kind)])
    if get_origin(kind) is tuple:
        return f"a list, each item {type_in_words(get_args(kind)[0])}"
    if kind in _CASTS:
        return _CASTS[kind][0]
    name = kind.__name__
    return f"{name}({fields(kind)[0].name}=...)" if is_dataclass(kind) else f"a {name}"


def _listed(choices: list[str]) -> str:
    return " or ".join([", ".join(choices[:-1]), choices[-1]] if choices[:-1] else choices)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError
    return int(value)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: Any) -> str:
    text = os.fspath(value)
    if not isinstance(text, str):
        raise TypeError
    return text


def _nothing(value: Any) -> None:
    if value is not None:
        raise TypeError


_CASTS: dict[Any, tuple[str, Callable[[Any], Any]]] = {
    int: ("a whole number", _whole),
    float: ("a finite number", _finite),
    bool: ("true or false", _truth),
    str: ("a text", _text),
    Path: ("a path", Path),
    NoneType: ("None", _nothing),
}
"""How a plain type is called, and what makes one of a value or raises ``TypeError``."""


def _settled(value: Any, kind: Any) -> Any:
    """``value`` as a ``kind``. Raises ``TypeError`` where it is nothing of the sort."""
    if get_origin(kind) is Annotated:
        return _settled(value, get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return _settled_as_one_of(value, get_args(kind))
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        return tuple(_settled(part, get_args(kind)[0]) for part in value)
    if get_origin(kind) is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            raise TypeError
        return value
    if kind in _CASTS:
        return _CASTS[kind][1](value)
    if not isinstance(value, kind):
        raise TypeError
    return value


def _settled_as_one_of(value: Any, kinds: tuple[Any, ...]) -> Any:
    for kind in kinds:
        try:
            return _settled(value, kind)
        except TypeError:
            continue
    raise TypeError
