"""Run the tests of the Triton kernels on several versions of Triton, without a GPU, and write the table.

    python -m benchmarks.triton_versions --write

Each version is installed in a new environment that uses all other packages of this one. Triton's interpreter solves
tiny problems, which are compared with float64, and its compiler makes code for sm_80 and sm_90. Neither needs a GPU.
Exit code 0: every test passed on every version; 1: one failed.
"""

import argparse
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("benchmarks/results/triton_versions.md")
# Which torch brings it.
VERSIONS = {
    "3.3.0": "2.7.0; the oldest that the extra dev admits",
    "3.6.0": "2.11.0",
    "3.7.1": "2.13.0, pinned in constraints.txt",
    "3.9.0": "the newest",
}
TESTS = "tests/transport/kernels/test_triton.py"
KINDS = {"interpreter": "not compile", "compiled for sm_80": "compile and 80", "compiled for sm_90": "compile and 90"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", nargs="+", default=list(VERSIONS), metavar="X.Y.Z", help="of triton")
    parser.add_argument("--write", type=Path, nargs="?", const=RESULTS, metavar="MD", help=f"default: {RESULTS}")
    arguments = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for wanted in arguments.versions:
            python = environment(Path(folder) / wanted, wanted)
            rows[wanted] = [outcome(python, selected) for selected in KINDS.values()]
            print(wanted, *rows[wanted], sep=" | ", flush=True)
    if arguments.write:
        arguments.write.write_text(table(rows), encoding="utf-8")
    return int(not all(re.fullmatch(r"\d+ passed", cell) for row in rows.values() for cell in row))


def environment(folder: Path, wanted: str) -> Path:
    """Make an environment with this version of Triton; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed"]
    subprocess.run([*pip, f"triton=={wanted}"], check=True)
    return python


def outcome(python: Path, selected: str) -> str:
    """The counts that pytest prints: "36 passed" or "2 failed, 34 passed"."""
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS, "-k", selected]
    done = subprocess.run([str(python), *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return ", ".join(re.findall(r"\d+ (?:passed|failed|skipped|errors?)\b", done.stdout.splitlines()[-1]))


def table(rows: dict[str, list[str]]) -> str:
    """The page in Markdown."""
    lines = [
        "# Versions of Triton",
        "",
        f"`python -m benchmarks.triton_versions --write` runs {TESTS} on each; without a GPU, beside torch "
        f"{version('torch')} and numpy {version('numpy')}.",
        "",
        "The interpreters before triton 3.7 do not know numpy 2.4; the tests give them one line for it.",
        "",
        "| triton | comes with torch | " + " | ".join(KINDS) + " |",
        "|---" * (len(KINDS) + 2) + "|",
        *(f"| {name} | {VERSIONS.get(name, '')} | {' | '.join(cells)} |" for name, cells in rows.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
