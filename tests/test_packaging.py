"""What an installation holds, and that it lives beside a stranger's own teachers/ package."""

import configparser
import os
import platform
import subprocess
import sys
import zipfile
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
FOLDERS = {"pkdot": "pkdot", "teachers": "pkdot.teachers", "students": "pkdot.students"}


def run(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder is left in the checkout."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*FOLDERS, "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        run("cp", "-r", ROOT / name, copy, cwd=ROOT)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", out, copy, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def pins() -> dict[str, Version]:
    """The versions in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): Version(pin) for name, pin in pairs}


def test_every_package_folder_is_listed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {
        ".".join((FOLDERS[top], *init.parent.relative_to(ROOT / top).parts))
        for top in FOLDERS
        for init in (ROOT / top).rglob("*.py")
    }
    assert found == listed


def test_every_requirement_is_pinned_within_its_bounds() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    groups = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    versions = pins()
    requirements = [Requirement(line) for group in groups for line in group.split("\n") if line.strip()]
    for requirement in requirements:
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement
    assert [name for name, version in versions.items() if version.local] == []


@pytest.mark.skipif((platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="triton is not installed")
def test_the_triton_that_is_tested_is_the_one_of_the_pinned_torch() -> None:
    pin = pins()["triton"]
    assert Version(version("triton")) == pin
    # A build of torch for CUDA names one exact version, a build for CPUs none.
    for requirement in map(Requirement, requires("torch") or []):
        if requirement.name == "triton":
            assert str(requirement.specifier) == f"=={pin}", "not the triton that this torch brings"


def test_the_wheel_has_the_whole_package_and_nothing_beside_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"pkdot"}
    for top, package in FOLDERS.items():
        for path in (ROOT / top).rglob("*.py"):
            assert "/".join((*package.split("."), *path.relative_to(ROOT / top).parts)) in names
    assert "pkdot/py.typed" in names


@pytest.mark.parametrize("command", ["distill", "train_teacher", "evaluate", "compare", "overview"])
def test_help_needs_no_torch_beside_a_strangers_own_teachers(wheel: Path, tmp_path: Path, command: str) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "__init__.py").write_text("raise RuntimeError('the stranger was imported')\n")
    script = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(site)!r}]\n"
        f"from pkdot.cli.{command} import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        f"import pkdot.config; assert pkdot.config.__file__.startswith({str(site)!r}), pkdot.config.__file__\n"
    )
    assert "--help" in run(sys.executable, "-S", "-c", SITE + script, cwd=tmp_path).stdout


# Without the site module no editable finder is installed; the libraries are then added by hand.
SITE = f"import sys; sys.path += {[path for path in sys.path if path.endswith('site-packages')]!r}\n"


def test_the_models_of_the_wheel_are_its_own(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "__init__.py").write_text("TEACHERS = 'mine'\n")
    script = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(site)!r}]\n"
        "import teachers, pkdot.teachers, pkdot.students\n"
        "assert teachers.TEACHERS == 'mine'\n"
        "print(*pkdot.teachers.TEACHERS)\n"
    )
    assert "cross-attention" in run(sys.executable, "-S", "-c", SITE + script, cwd=tmp_path).stdout


def test_the_console_scripts_name_what_exists(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    scripts = dict(line.split(" = ") for line in archive.read(entry).decode().splitlines() if line.startswith("pkdot"))
    assert set(scripts) == {"pkdot", "pkdot-train-teacher", "pkdot-distill", "pkdot-evaluate", "pkdot-compare"}
    for target in scripts.values():
        module, function = target.split(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function))
