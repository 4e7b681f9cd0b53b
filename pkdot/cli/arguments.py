"""From the words on the command line to a config: recipes first, then flags; --resume reads all from its run folder."""

import io
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import tyro

from pkdot.cli.flags import explained, flags_of, is_flag, nearest
from pkdot.cli.run_settings import check_whole
from pkdot.recipes import read_toml

Config = TypeVar("Config")

RECIPE = (
    "--recipe FILE.toml reads settings from a file; the config.toml of a run folder repeats that run. "
    "Flags override it."
)
"""A sentence in the help of the commands that train."""


def parse(kind: type[Config], argv: Sequence[str] | None, *, command: str, description: str) -> Config:
    """The config that the words on the command line describe.

    ``--recipe FILE.toml`` may be given more than once. Later recipes override earlier ones, and flags override recipes.

    Args:
        kind: the dataclass of the command's settings.
        argv: the words after the command; None reads them from ``sys.argv``.
        command: its name.
        description: what ``--help`` says first.

    Raises:
        ValueError: a flag or value is wrong, or a recipe or run folder cannot be read; one line says what.

    >>> from pkdot.config import StudentRunConfig
    >>> parse(StudentRunConfig, ["--topk", "8"], command="pkdot-distill", description="Distil.").distill.topk
    8
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if "--version" in words:
        from pkdot.version import __version__  # takes 30 ms: not for the other words

        print(f"{command} {__version__}")
        raise SystemExit(0)
    recipes, flags = _split(words)
    resume = _resume_folder(flags)
    if resume is not None:
        if recipes:
            raise ValueError("--resume reads all settings from the run folder; leave out --recipe.")
        recipes = [resume / "config.toml"]
        if not recipes[0].is_file():
            raise ValueError(f"{resume}: not a run folder to resume, it has no config.toml.")
    from_recipes: list[str] = []
    for recipe in recipes:
        told = recipe_words(recipe, command, kind, resumed=resume is not None)
        # Read it alone first, so that the message for a mistake in the file names the file.
        _read(kind, told, command, description, f"{recipe}: ")
        from_recipes += told
    return _read(kind, from_recipes + flags, command, description)


def _read(kind: type[Config], words: list[str], command: str, description: str, blamed: str = "") -> Config:
    with redirect_stderr(io.StringIO()) as told:
        try:
            return tyro.cli(kind, args=words, prog=command, description=f"{description}\n--version prints the version.")
        except SystemExit as end:
            if not end.code:
                raise
    mistake = in_one_line(told.getvalue())
    raise ValueError(blamed + (explained(kind, words, mistake) or mistake))


def in_one_line(box: str) -> str:
    r"""Tyro's report of a mistake in one line, without its frame and title.

    >>> in_one_line("╭ Parsing error ╮\n│ Unrecognized options: --x │\n╰───────────────╯")
    'Unrecognized options: --x.'
    """
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()][1:]
    if lines and _is_rule(lines[0]):
        del lines[0]
    mistake = " ".join(takewhile(lambda line: line and not _is_rule(line), lines))
    # Tyro names the group of a wrong setting first; the message itself names the setting.
    return re.sub(r"^Error parsing [\w.]+: ", "", mistake.rstrip(".")) + "."


def _is_rule(line: str) -> bool:
    return len(line) > 3 and set(line) in ({"─"}, {"-"})


def recipe_words(path: Path, command: str, kind: type, *, resumed: bool = False) -> list[str]:
    r"""The words on the command line that a TOML recipe stands for.

    Args:
        path: of the recipe.
        command: that reads it.
        kind: the dataclass of the command's settings.
        resumed: the recipe is the config of a run that is resumed.

    Raises:
        ValueError: the file is no recipe for this command; the message names the file and the setting.

    >>> from tempfile import TemporaryDirectory
    >>> from pkdot.config import StudentRunConfig
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "mine.toml").write_text("[distill]\ntopk = 8\n")
    ...     recipe_words(Path(folder, "mine.toml"), "pkdot-distill", StudentRunConfig)
    ['--distill.topk=8']
    """
    table = read_toml(path)
    made_by = table.get("command", command)
    if made_by != command:
        raise ValueError(f"{path}: its settings are for {made_by}, not for {command}.")
    check_whole(path, table, kind, resumed=resumed)
    table.pop("command", None)
    words, known = _words(table, "--"), flags_of(kind)
    for word in filter(is_flag, words):
        flag, equals, value = word.partition("=")
        if flag not in known:
            near = nearest(flag, list(known))
            hint = f" Did you mean {_setting(near)}?" if near else ""
            raise ValueError(f"{path}: unknown setting {_setting(flag)}.{hint}")
        if equals and known[flag].kind is bool:
            raise ValueError(f"{path}: {_setting(flag)} is {value!r}; expected true or false.")
    return words


def _setting(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _words(table: dict[str, Any], prefix: str) -> list[str]:
    words = []
    for key, value in table.items():
        flag = prefix + key.replace("_", "-")
        if isinstance(value, dict):
            words += _words(value, f"{flag}.")
        elif isinstance(value, bool):
            group, _, name = flag.rpartition(".")
            words.append(flag if value else f"{group}.no-{name}" if group else f"--no-{flag[2:]}")
        elif isinstance(value, list):
            words += [flag, *map(str, value)] if value else []
        else:
            words.append(f"{flag}={value}")
    return words


def _split(words: list[str]) -> tuple[list[Path], list[str]]:
    recipes, flags = [], []
    rest = iter(words)
    for word in rest:
        if word == "--recipe":
            try:
                recipes.append(Path(next(rest)))
            except StopIteration:
                raise ValueError("--recipe needs a TOML file after it.") from None
        elif word.startswith("--recipe="):
            recipes.append(Path(word.removeprefix("--recipe=")))
        else:
            flags.append(word)
    return recipes, flags


def _resume_folder(flags: list[str]) -> Path | None:
    match [part for word in flags for part in word.split("=", 1)]:
        case ["--resume" | "--run.resume", folder]:
            return Path(folder)
        case [*words] if "--resume" in words or "--run.resume" in words:
            raise ValueError("--resume reads all settings from the run folder; give it one folder and no other flag.")
    return None
