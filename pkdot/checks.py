"""Checks of values from the user. Each raises a ``ValueError`` of one line. Nothing here imports torch."""

import difflib
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin


def check_choice(what: str, value: str, choices: Iterable[str]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``; a near choice is suggested.

    >>> check_choice("method", "knd", ["none", "kd"])
    Traceback (most recent call last):
    ValueError: method 'knd' is not one of none, kd. Did you mean 'kd'?
    """
    choices = list(choices)
    if value in choices:
        return
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{what} {value!r} is not one of {', '.join(choices)}.{hint}")


def check_range(what: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise ``ValueError`` unless ``low <= value <= high``, or ``low < value <= high`` with ``open_low``.

    >>> check_range("labels", 1.5, 0.0, 1.0)
    Traceback (most recent call last):
    ValueError: labels 1.5 is outside [0.0, 1.0].
    """
    if not (low < value if open_low else low <= value) or not value <= high:
        raise ValueError(f"{what} {value} is outside {'(' if open_low else '['}{low}, {high}].")


def check_positive(**numbers: float) -> None:
    """Raise ``ValueError`` unless all numbers are finite and above 0.

    >>> check_positive(blur=0.1, tol=0.0)
    Traceback (most recent call last):
    ValueError: tol is 0.0; expected a finite number above 0.
    """
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; expected a finite number above 0.")


def check_not_negative(**numbers: float) -> None:
    """Raise ``ValueError`` unless all numbers are finite and at least 0.

    >>> check_not_negative(alpha=1.0, beta=-1.0)
    Traceback (most recent call last):
    ValueError: beta is -1.0; expected a finite number of at least 0.
    """
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; expected a finite number of at least 0.")


def check_count(**numbers: int) -> None:
    """Raise ``ValueError`` unless all are whole numbers of at least 1.

    >>> check_count(samples=100, negatives=0)
    Traceback (most recent call last):
    ValueError: negatives is 0; expected a whole number of at least 1.
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1.")


def check_type(what: str, value: object, kind: type) -> None:
    """Raise ``ValueError`` unless ``value`` is a ``kind``.

    >>> check_type("epochs", "many", int)
    Traceback (most recent call last):
    ValueError: epochs is 'many'; expected a whole number.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{what} is {value!r}; expected {type_in_words(kind)}.")


def settle_types(settings: Any) -> None:
    """Convert each field of a dataclass to its declared type: text becomes a path, and 1 becomes 1.0.

    Meant for ``__post_init__``; the dataclass may be frozen.

    Raises:
        ValueError: a value has another type, or a number is not finite; the message names the field.

    >>> from dataclasses import make_dataclass
    >>> step = make_dataclass("Step", [("lr", float), ("epochs", int)])(1, 3)
    >>> settle_types(step)
    >>> step.lr
    1.0
    """
    for part in fields(settings):
        try:
            # object.__setattr__ also writes to a frozen dataclass.
            object.__setattr__(settings, part.name, _settled(getattr(settings, part.name), part.type))
        except TypeError:
            value = getattr(settings, part.name)
            raise ValueError(f"{part.name} is {value!r}; expected {type_in_words(part.type)}.") from None


def type_in_words(kind: Any) -> str:
    """Say what a field accepts, from its annotation.

    >>> type_in_words(int | Literal["auto"])
    'a whole number or auto'
    """
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
"""The name of each plain type in messages, and a function that converts to it or raises ``TypeError``."""


def _settled(value: Any, kind: Any) -> Any:
    """Convert ``value`` to ``kind``. Raises ``TypeError`` if it is of another type."""
    if isinstance(kind, type) and kind in _CASTS:  # first, because nearly all settings are plain
        return _CASTS[kind][1](value)
    origin = get_origin(kind)
    if origin is Annotated:
        return _settled(value, get_args(kind)[0])
    if origin in (Union, UnionType):
        return _settled_as_one_of(value, get_args(kind))
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        return tuple(_settled(part, get_args(kind)[0]) for part in value)
    if origin is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            raise TypeError
        return value
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
