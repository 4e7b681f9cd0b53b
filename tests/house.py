"""Who imports whom in the package, read from its sources: openly, inside functions, or by a name in a string."""

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {"pkdot": "pkdot", "pkdot.teachers": "teachers", "pkdot.students": "students"}
"""Where each package lies in the checkout."""
NAMED = re.compile(r"pkdot(\.\w+)+(:\w+)?")
"""A string that is nothing but the name of a module, or of something in one."""
IMPORTERS = ("import_module", "__import__", "find_spec", "resolve_name")
"""Functions that import, or find, what a string names."""

Edge = tuple[str, str]
"""A module, and one that it imports or names."""


def sources() -> dict[str, Path]:
    """Every module of the package, with its file; a stub stands for its extension."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py*"):
            if path.suffix in (".py", ".pyi") and not path.is_symlink():
                inner = path.relative_to(ROOT / folder).with_suffix("").parts
                found[".".join((package, *(part for part in inner if part != "__init__")))] = path
    return found


def texts() -> dict[str, str]:
    """The source of every module."""
    return {name: path.read_text(encoding="utf-8") for name, path in sources().items()}


def imports_of(text: str, modules: Iterable[str]) -> set[str]:
    """What a source imports, at its top or anywhere else, and which of ``modules`` it names in a string.

    ``from package import module`` imports the module, whatever else the package holds. A relative import and a name
    that is put together while the program runs are told as they stand, for neither can be followed.
    """
    known, found = set(modules), set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names}
            case ast.ImportFrom() if node.level:
                found.add("." * node.level + (node.module or ""))
            case ast.ImportFrom(module=str(package)):
                inner = {f"{package}.{alias.name}" for alias in node.names}
                found |= inner & known
                found |= {package} if inner - known else set()
            case ast.Constant(value=str(word)) if NAMED.fullmatch(word):
                found |= {_longest(word.replace(":", "."), known)} - {"pkdot"}
            case ast.Attribute() if ast.unparse(node).startswith("pkdot."):
                found |= {_longest(ast.unparse(node), known)} - {"pkdot"}
            case ast.JoinedStr() | ast.BinOp() if ast.unparse(node).strip("f'\"").startswith("pkdot."):
                found.add(f"{ast.unparse(node)}, put together")
            case ast.Call() if _called(node) in IMPORTERS and not all(isinstance(a, ast.Constant) for a in node.args):
                found.add(f"{ast.unparse(node)}, a variable")
    return found


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _longest(word: str, known: set[str]) -> str:
    """The module that a dotted name begins with."""
    while word not in known and "." in word:
        word = word.rpartition(".")[0]
    return word


def edges_of(sources: Mapping[str, str]) -> set[Edge]:
    """Who imports whom."""
    return {(name, other) for name, text in sources.items() for other in imports_of(text, sources) if other != name}


def circles(edges: Iterable[Edge]) -> list[list[str]]:
    """The groups of modules each of which leads to all others of its group (strongly connected components)."""
    below: dict[str, set[str]] = {}
    for name, other in edges:
        below.setdefault(name, set()).add(other)
    reached = {name: _reached(name, below) for name in below}
    groups = {
        frozenset(o for o in reached[name] if name in reached.get(o, ())) for name in below if name in reached[name]
    }
    return sorted(sorted(group) for group in groups)


def _reached(start: str, below: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(below[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += below.get(name, ())
    return found


def floor_of(module: str, floors: list[list[str]]) -> tuple[int, str]:
    """The number of a module's floor, from the roof, and its room; -1 for one that lies on none.

    A room inside another room is a room of its own: the longest name that fits counts.
    """
    found = [
        (number, room)
        for number, rooms in enumerate(floors)
        for room in rooms
        if module == room or module.startswith(f"{room}.")
    ]
    return max(found, key=lambda place: len(place[1]), default=(-1, module))


def pointing_up(edges: Iterable[Edge], floors: list[list[str]]) -> set[Edge]:
    """The imports of a room on the same floor or above it, and those that cannot be followed."""
    found = set()
    for name, other in edges:
        floor, room = floor_of(name, floors)
        below, next_room = floor_of(other, floors)
        lost = re.fullmatch(r"[\w.]+", other) is None or other.startswith(".")
        if lost or (other.split(".")[0] == "pkdot" and next_room != room and below <= floor):
            found.add((name, other))
    return found


def long_files(folder: Path, most: int = 400) -> list[str]:
    """The files of Python and C below a folder that have more lines than ``most``; not what .gitignore names."""
    endings = (".py", ".pyi", ".c", ".h", ".cpp", ".hpp", ".cu", ".cuh")
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()}
    return [
        inner.as_posix()
        for path in sorted(folder.rglob("*"))
        if (inner := path.relative_to(folder)).suffix in endings
        and not ignored.intersection(inner.parts)
        and path.is_file()
        and len(path.read_text(encoding="utf-8").splitlines()) > most
    ]
