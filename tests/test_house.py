"""The plan of the house: rooms, who may import whom, sizes, and the dicts that name what is to be had."""

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

import pkdot
from pkdot.checks import names_in

ROOT = Path(__file__).parents[1]
FLOORS = [
    ["pkdot.cli"],
    ["pkdot.comparison"],
    ["pkdot.training"],
    ["pkdot.teachers", "pkdot.students"],
    ["pkdot.encoders"],
    ["pkdot.model"],
    ["pkdot.data"],
    ["pkdot.losses"],
    ["pkdot.transport"],
    ["pkdot.structure"],
    ["pkdot.ranking"],
    ["pkdot.tasks"],
    ["pkdot.metrics"],
    ["pkdot.distributed"],
    ["pkdot.config"],
    ["pkdot.checks"],
]
"""From the roof to the ground; what stands in one list may not import each other."""

DICTS = {
    "pkdot.teachers": "TEACHERS",
    "pkdot.students": "STUDENTS",
    "pkdot.encoders": "ENCODERS",
    "pkdot.losses": "LOSSES",
    "pkdot.data": "DATASETS",
}
PUBLIC = ["OTDistillLoss", "anchor_clouds", "cosine_structure", "sinkhorn_divergence", "topk_anchors"]


def sources() -> dict[str, Path]:
    """Every module of the package, with its file."""
    found = {}
    for package, folder in (("pkdot", "pkdot"), ("pkdot.teachers", "teachers"), ("pkdot.students", "students")):
        for path in (ROOT / folder).rglob("*.py"):
            inner = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *(part for part in inner if part != "__init__")))] = path
    return found


def floor_of(module: str) -> tuple[int, str]:
    for number, rooms in enumerate(FLOORS):
        for room in rooms:
            if module == room or module.startswith(f"{room}."):
                return number, room
    return -1, module


def imports_of(path: Path) -> set[str]:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            imported.add(node.module or "")
    return imported


def test_every_module_lies_on_a_floor() -> None:
    assert {name for name in sources() if floor_of(name)[0] < 0} == {"pkdot"}


@pytest.mark.parametrize("room", [room for rooms in FLOORS for room in rooms])
def test_every_room_of_the_plan_exists(room: str) -> None:
    assert importlib.import_module(room).__doc__


def test_imports_point_down_only() -> None:
    wrong = []
    for name, path in sources().items():
        floor, room = floor_of(name)
        for imported in imports_of(path):
            if imported.split(".")[0] != "pkdot":
                continue
            below, other = floor_of(imported)
            if name != "pkdot" and other != room and below <= floor:
                wrong.append(f"{name} imports {imported}")
    assert not wrong


def test_teachers_and_students_are_never_imported_from_the_top() -> None:
    # From the root of a checkout it would work, and on a user's machine it would import somebody else's package.
    for name, path in sources().items():
        assert not {"teachers", "students"} & {imported.split(".")[0] for imported in imports_of(path)}, name


def test_no_file_is_above_400_lines() -> None:
    files = [*sources().values(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert [path.name for path in files if len(path.read_text(encoding="utf-8").splitlines()) > 400] == []


@pytest.mark.parametrize(("module", "dictionary"), DICTS.items())
def test_names_are_read_from_the_source_as_they_stand_in_the_dict(
    module: str, dictionary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = list(getattr(importlib.import_module(module), dictionary))
    assert list(names_in(module, dictionary)) == live
    monkeypatch.setattr("pkdot.checks.sys", ModuleType("sys"))
    monkeypatch.setattr("pkdot.checks.sys.modules", {}, raising=False)
    assert list(names_in(module, dictionary)) == live


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_to_be_had_from_the_top(name: str) -> None:
    assert callable(getattr(pkdot, name))
    assert name in dir(pkdot)


def test_no_other_name_is_public() -> None:
    assert sorted(pkdot.__all__) == sorted(PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pkdot.nonsense


def test_everything_public_has_a_docstring() -> None:
    # Read from the source: a live class inherits its base's docstring, and a dataclass gets one made.
    bare = []
    for name, path in sources().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        members = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        bare += [] if ast.get_docstring(tree) else [name]
        members = [node for node in members if "overload" not in map(ast.unparse, node.decorator_list)]
        bare += [f"{name}.{m.name}" for m in members if not m.name.startswith("_") and not ast.get_docstring(m)]
    assert not bare
