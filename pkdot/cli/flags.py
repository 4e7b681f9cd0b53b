"""The flags of a config class, and suggestions for mistakes in them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from itertools import takewhile
from typing import Annotated, Any, get_args, get_origin

from tyro.conf import Positional

from pkdot.checks import type_in_words

EVERYWHERE = ("--help", "--version", "--recipe")
"""Flags of every command that are not in its config."""

UNKNOWN = "Unrecognized options: "


@dataclass(frozen=True)
class Setting:
    """The field that a flag sets: its full name and its annotation.

    >>> Setting("optim.lr", float).name
    'optim.lr'
    """

    name: str
    kind: Any


def flags_of(kind: type, group: str = "") -> dict[str, Setting]:
    """Every flag of a config class with the field that it sets; a field may have several flags.

    >>> from pkdot.config import StudentRunConfig
    >>> flags_of(StudentRunConfig)["--topk"].name
    'distill.topk'
    """
    flags: dict[str, Setting] = {}
    for part in fields(kind):
        marks = get_args(part.type)[1:] if get_origin(part.type) is Annotated else ()
        name = part.name.replace("_", "-")
        if is_dataclass(part.type):
            flags |= flags_of(part.type, f"{group}{name}.")  # type: ignore[arg-type]
        elif Positional not in marks:
            setting = Setting(f"{group}{name}", part.type)
            flags |= {alias: setting for mark in marks for alias in mark.aliases or ()}
            flags[f"--{group}{name}"] = setting
            if part.type is bool:
                flags[f"--{group}no-{name}"] = setting
    return flags


def explained(kind: type, words: Sequence[str], parser_message: str) -> str | None:
    """A clear message for a mistake on the command line.

    Args:
        kind: the config class.
        words: on the command line.
        parser_message: what the parser says.

    Returns:
        The message; None if the parser's is clear enough.

    >>> from pkdot.config import StudentRunConfig
    >>> explained(StudentRunConfig, ["--topc", "8"], "Unrecognized options: --topc")
    'unknown flag --topc. Did you mean --topk?'
    """
    known = flags_of(kind)
    for word in words:
        if is_flag(word) and _name(word) not in known:
            near = nearest(_name(word), [*known, *EVERYWHERE])
            return f"unknown flag {word.partition('=')[0]}." + (f" Did you mean {near}?" if near else "")
    if parser_message.startswith(UNKNOWN):
        return _unexpected(words, parser_message.removeprefix(UNKNOWN).rstrip(".").split(", ")[0])
    blamed = re.search(r"(?<![\w-])--[\w.-]+", parser_message)
    if blamed is None or blamed[0] not in known:
        return None
    setting = known[blamed[0]]
    given = _values(words, [flag for flag in known if known[flag].name == setting.name])
    return f"{blamed[0]} {given or 'without a value'}: expected {type_in_words(setting.kind)}."


def is_flag(word: str) -> bool:
    """Whether a word is a flag. A negative number is not.

    >>> is_flag("--topk"), is_flag("-3")
    (True, False)
    """
    return re.match(r"--?[A-Za-z]", word) is not None and word.lstrip("-").lower() not in ("inf", "nan")


def nearest(word: str, flags: Sequence[str]) -> str | None:
    """The flag that was probably meant, by its full name or by its name within its group; None if nothing is near.

    >>> nearest("--optim.lrr", ["--lr", "--optim.lr", "--seed"])
    '--optim.lr'
    """
    names = {f"--{flag.lstrip('-').split('.')[-1]}": flag for flag in reversed(flags)}
    names |= {flag: flag for flag in flags}
    most = max(1, len(word) // 4)
    ranked = {name: (_slips(word, name, most), abs(len(word) - len(name)), flag) for name, flag in names.items()}
    slips, _, flag = min(ranked.values(), key=lambda rank: (*rank[:2], rank[2].count(".")))
    if slips <= most:
        return flag
    near = get_close_matches(word, names, n=1)
    return names[near[0]] if near else None


def _slips(one: str, other: str, most: int) -> int:
    """Edit distance of two words: letters to add, drop, change, or swap with the next one.

    The result is ``most`` + 1 if the lengths alone show that the distance is above ``most``.
    """
    if abs(len(one) - len(other)) > most:
        return most + 1
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, 1):
        rows.append([i])
        for j, wanted in enumerate(other, 1):
            steps = [rows[i - 1][j] + 1, rows[i][j - 1] + 1]
            if letter == wanted:
                steps.append(rows[i - 1][j - 1])
            if i > 1 and j > 1 and (letter, one[i - 2]) == (other[j - 2], wanted):
                steps.append(rows[i - 2][j - 2] + 1)
            rows[i].append(min(steps))
    return rows[-1][-1]


def _unexpected(words: Sequence[str], value: str) -> str:
    """A message for a word that no flag takes; it names the flag before that word."""
    flag = ""
    for word in words:
        flag = word.partition("=")[0] if is_flag(word) else flag
        if word == value or word.endswith(f"={value}"):
            break
    return f"unexpected {value!r} after {flag}." if flag else f"unexpected {value!r}."


def _name(word: str) -> str:
    return word.partition("=")[0].replace("_", "-")


def _values(words: Sequence[str], names: Sequence[str]) -> str:
    """The words after the last of these flags."""
    last = max((place for place, word in enumerate(words) if _name(word) in names), default=len(words) - 1)
    _, equals, value = words[last].partition("=")
    return value if equals else " ".join(takewhile(lambda word: not is_flag(word), words[last + 1 :]))
