"""The plan of the house: rooms, who may import whom, sizes, and the dicts that name what is to be had."""

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

import pkdot
from pkdot.names import names_in
from tests.house import ROOT, circles, edges_of, floor_of, imports_of, long_files, pointing_up, sources, texts

FLOORS = [
    ["pkdot.__main__"],
    ["pkdot.cli"],
    ["pkdot.comparison"],
    ["pkdot.comparison.report"],
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
    ["pkdot.precision"],
    ["pkdot.distributed"],
    ["pkdot.config"],
    ["pkdot.methods"],
    ["pkdot.names", "pkdot.recipes"],
    ["pkdot.checks"],
    ["pkdot.storage"],
    ["pkdot.version"],
]
"""From the roof to the ground; what stands in one list may not import each other."""

READS = "names_in reads a dict's keys from the source, and imports nothing"
MAY_POINT_UP = {
    ("pkdot.config", "pkdot.losses"): READS,
    ("pkdot.config", "pkdot.teachers"): READS,
    ("pkdot.config", "pkdot.students"): READS,
    ("pkdot.config", "pkdot.encoders"): READS,
    ("pkdot.methods", "pkdot.losses"): READS,
    ("pkdot.names", "find_spec(module), a variable"): "this is names_in: its callers name the module",
    (
        "pkdot",
        "import_module(_HOME[name]), a variable",
    ): "public names are imported on first use; _HOME names the modules",
}
MAY_BE_ROUND = {
    ("pkdot.comparison.execution", "pkdot.comparison.preloaded"): "the server of processes imports it before it forks",
}
MAY_CHANGE = {
    "pkdot.config": "settings, which a recipe and flags fill in one after the other",
    "pkdot.comparison.config": "likewise",
    "pkdot.training.state": "the progress of a run",
    "pkdot.data.memory": "samples that are kept as they come",
    "pkdot.data.study": "digests that are computed on first use",
    "pkdot.data.loader": "a memory that fills",
    "pkdot.data.manifest": "arrays that are opened on first use",
}
DICTS = {
    "pkdot.teachers": "TEACHERS",
    "pkdot.students": "STUDENTS",
    "pkdot.encoders": "ENCODERS",
    "pkdot.losses": "LOSSES",
    "pkdot.data": "DATASETS",
}
PUBLIC = ["OTDistillLoss", "anchor_clouds", "cosine_structure", "sinkhorn_divergence", "topk_anchors"]


def test_every_module_lies_on_a_floor() -> None:
    assert {name for name in sources() if floor_of(name, FLOORS)[0] < 0} == {"pkdot"}


@pytest.mark.parametrize("room", [room for rooms in FLOORS for room in rooms])
def test_every_room_of_the_plan_exists(room: str) -> None:
    assert importlib.import_module(room).__doc__


def test_imports_point_down_only() -> None:
    edges = edges_of(texts())
    # The top module re-exports: it stands above everybody, and nobody imports it.
    wrong = {edge for edge in pointing_up(edges, FLOORS) if edge[0] != "pkdot" or edge[1].endswith("variable")}
    assert wrong - MAY_POINT_UP.keys() == set()
    assert MAY_POINT_UP.keys() - wrong == set()


def test_no_room_has_imports_that_go_round() -> None:
    edges = edges_of(texts()) - MAY_POINT_UP.keys()
    assert circles(edges - MAY_BE_ROUND.keys()) == []
    assert all(len(circles(edges - (MAY_BE_ROUND.keys() - {allowed}))) == 1 for allowed in MAY_BE_ROUND)


def test_teachers_and_students_are_never_imported_from_the_top() -> None:
    # From the root of a checkout it would work, and on a user's machine it would import somebody else's package.
    for name, other in edges_of(texts()):
        assert other.split(".")[0] not in {"teachers", "students"}, name


def test_a_room_inside_another_is_a_room_of_its_own() -> None:
    assert floor_of("pkdot.comparison.report.scores", FLOORS)[1] == "pkdot.comparison.report"
    assert floor_of("pkdot.comparison.plan", FLOORS)[1] == "pkdot.comparison"
    up = {("pkdot.comparison.report.write", "pkdot.comparison.plan")}
    assert pointing_up({*up, ("pkdot.comparison.plan", "pkdot.comparison.report.scores")}, FLOORS) == up


def test_values_do_not_change_once_they_are_made() -> None:
    changing = set()
    for name, text in texts().items():
        for node in ast.walk(ast.parse(text)):
            made = [ast.unparse(mark) for mark in getattr(node, "decorator_list", [])]
            if any(mark.startswith("dataclass") and "frozen=True" not in mark for mark in made):
                changing.add(name)
    assert changing == MAY_CHANGE.keys()


def test_no_file_is_above_400_lines() -> None:
    assert long_files(ROOT) == []


MODULES = {"pkdot.cli", "pkdot.cli.distill", "pkdot.losses", "pkdot.losses.ot", "pkdot.structure"}


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import pkdot.cli.distill", "pkdot.cli.distill"),
        ("from pkdot.cli.distill import main", "pkdot.cli.distill"),
        ("from pkdot.cli import distill as d", "pkdot.cli.distill"),
        ("from pkdot import cli", "pkdot.cli"),
        ("import pkdot\n\ndef f():\n    return pkdot.cli.distill.main()", "pkdot.cli.distill"),
        ("def f():\n    from pkdot.cli.distill import main\n    return main", "pkdot.cli.distill"),
        ("class A:\n    def f(self):\n        import pkdot.cli.distill", "pkdot.cli.distill"),
        ("try:\n    import pkdot.cli\nexcept ImportError:\n    pass", "pkdot.cli"),
        ("if TYPE_CHECKING:\n    from pkdot.cli.distill import main", "pkdot.cli.distill"),
        ("import importlib\nf = lambda: importlib.import_module('pkdot.cli.distill')", "pkdot.cli.distill"),
        ("from importlib import import_module as load\nload('pkdot.cli')", "pkdot.cli"),
        ("__import__('pkdot.cli.distill')", "pkdot.cli.distill"),
        ("names_in('pkdot.losses', 'LOSSES')", "pkdot.losses"),
        ("_HOME = {'main': 'pkdot.cli.distill'}", "pkdot.cli.distill"),
        ("PICKLED = ['pkdot.cli.distill.main']", "pkdot.cli.distill"),
        ("ENTRY = 'pkdot.cli.distill:main'", "pkdot.cli.distill"),
        ("import_module(f'pkdot.{room}')", "f'pkdot.{room}', put together"),
        ("import_module('pkdot.' + room)", "'pkdot.' + room, put together"),
        ("import_module(room)", "import_module(room), a variable"),
        ("from ..cli import distill", "..cli"),
    ],
)
def test_an_import_is_seen_wherever_it_hides(source: str, imported: str) -> None:
    assert imported in imports_of(source, MODULES)
    edges = edges_of({"pkdot.structure": source} | dict.fromkeys(MODULES - {"pkdot.structure"}, ""))
    assert ("pkdot.structure", imported) in pointing_up(edges, FLOORS)


@pytest.mark.parametrize("source", ["'see pkdot.cli.distill for more'", "import torch", "import_module('triton')"])
def test_other_words_are_no_imports(source: str) -> None:
    edges = edges_of({"pkdot.structure": source} | dict.fromkeys(MODULES - {"pkdot.structure"}, ""))
    assert not pointing_up(edges, FLOORS)


def test_imports_that_go_round_are_seen_within_a_room() -> None:
    toys = {
        "pkdot.losses": "from pkdot.losses.ot import ot\nfrom pkdot.losses.kd import kd",
        "pkdot.losses.ot": "def f():\n    from pkdot.losses.kd import kd",
        "pkdot.losses.kd": "HOME = 'pkdot.losses.last'",
        "pkdot.losses.last": "import pkdot.losses.ot",
        "pkdot.losses.sp": "from pkdot.losses import ot",
        "pkdot.structure": "",
    }
    assert circles(edges_of(toys)) == [["pkdot.losses.kd", "pkdot.losses.last", "pkdot.losses.ot"]]
    assert circles(edges_of({**toys, "pkdot.losses.last": "import pkdot.structure"})) == []
    round_the_package = {"pkdot.losses": "import pkdot.losses.ot", "pkdot.losses.ot": "from pkdot.losses import LOSSES"}
    assert circles(edges_of(round_the_package)) == [["pkdot.losses", "pkdot.losses.ot"]]


@pytest.mark.parametrize("name", ["module.py", "solver.c", "solver.h", "deep/inside/stub.pyi"])
def test_a_long_file_is_seen(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x\n" * 400)
    (tmp_path / "table.csv").write_text("x\n" * 1000)
    assert long_files(tmp_path) == []
    path.write_text("x\n" * 401)
    assert long_files(tmp_path) == [name]


@pytest.mark.parametrize(("module", "dictionary"), DICTS.items())
def test_names_are_read_from_the_source_as_they_stand_in_the_dict(
    module: str, dictionary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = list(getattr(importlib.import_module(module), dictionary))
    assert list(names_in(module, dictionary)) == live
    monkeypatch.setattr("pkdot.names.sys", ModuleType("sys"))
    monkeypatch.setattr("pkdot.names.sys.modules", {}, raising=False)
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
        if path.suffix == ".pyi":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        members = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        bare += [] if ast.get_docstring(tree) else [name]
        members = [node for node in members if "overload" not in map(ast.unparse, node.decorator_list)]
        bare += [f"{name}.{m.name}" for m in members if not m.name.startswith("_") and not ast.get_docstring(m)]
    assert not bare


def test_the_page_about_the_house_names_files_that_exist() -> None:
    words = re.findall(r"`([\w/.]+(?:/|\.py))`", (ROOT / "docs" / "house.md").read_text(encoding="utf-8"))
    folders = [ROOT, ROOT / "pkdot", ROOT / "pkdot" / "data", ROOT / "pkdot" / "transport"]
    assert len(words) > 40
    assert [word for word in words if not any((folder / word).exists() for folder in folders)] == []


def test_the_page_about_the_house_places_every_file_of_a_large_room() -> None:
    page = (ROOT / "docs" / "house.md").read_text(encoding="utf-8").partition("## Files")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([\w/]+)/` \| (.*) \|$", page, re.MULTILINE))
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "pkdot").rglob("[!_]*.py")}
    assert rows.keys() == rooms - {"pkdot", "pkdot/data/synthetic"}
    for room, text in rows.items():
        files = {path.stem for path in (ROOT / room).glob("*.py")} - {"__init__"}
        named = re.findall(r"`([a-z]\w+|_\w+)`", text)
        assert files - set(named) == set(), room
        assert set(named) - files <= {"pkdot"}, room
