"""Start two commands on one folder at the same time, repeatedly, and count what is lost or made twice.

    python -m benchmarks.two_at_once --times 20

Half of the trials start ``pkdot-compare`` twice on one grid: the two must share the runs, and both write the report.
The other half start ``--resume`` twice on one stopped run: one must finish it, and the other must refuse it or find it
finished. The files must be those that a single command leaves. Ends with exit code 1 if any trial differs.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

RUN = "import sys; from pkdot.cli.{} import main; sys.exit(main())"
TOML = """
name = "toy"
task = "classification"
targets = ["answer"]
classes = ["low", "high"]
prevalent = ["weak"]
privileged = ["strong"]
modalities.weak = { kind = "vector", source = "array" }
modalities.strong = { kind = "vector", source = "array" }
"""


def make_data(folder: Path) -> Path:
    generator, n = np.random.default_rng(0), 72
    folder.mkdir()
    level = np.arange(n) % 2
    for name, strength in (("weak", 0.5), ("strong", 2.0)):
        np.save(folder / f"{name}.npy", (strength * (2 * level[:, None] - 1) + generator.normal(size=(n, 4))))
    rows = [f"s{i},p{i // 6},{('low', 'high')[level[i]]}" for i in range(n)]
    (folder / "samples.csv").write_text("\n".join(["id,subject,answer", *rows, ""]))
    (folder / "dataset.toml").write_text(TOML)
    return folder


def start(command: str, *words: str | Path) -> "subprocess.Popen[str]":
    line = [sys.executable, "-c", RUN.format(command), *map(str, words)]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    told = process.communicate()[1].strip().splitlines()
    return process.returncode, told[-1] if told else ""


def contents(folder: Path, *names: str) -> dict[str, bytes]:
    """The contents of all files by path, without what depends on the time when they were made."""
    return {str(path.relative_to(folder)): path.read_bytes() for name in names for path in folder.rglob(name)}


def compare_twice(data: Path, out: Path, alone: Path) -> str:
    words = ["--data", data, "--methods", "kd", "--epochs", "3", "--seeds", "2", "--tune-seeds", "1", "--jobs", "1"]
    kept = ("result.json", "metrics.jsonl", "predictions.csv", "scores.csv", "weights.json")
    if not alone.exists():
        code, told = end(start("compare", *words, "--out", alone))
        if code:
            return told
    answers = [end(process) for process in [start("compare", *words, "--out", out) for _ in range(2)]]
    if [code for code, _ in answers] != [0, 0]:
        return f"codes and last lines: {answers}"
    expected, found = contents(alone, *kept), contents(out, *kept)
    wrong = [name for name in expected.keys() | found.keys() if not same(expected.get(name), found.get(name))]
    return f"differs: {wrong[:3]}" if wrong else ""


def same(one: bytes | None, other: bytes | None) -> bool:
    """Whether two contents are equal, apart from the teacher's path in results."""
    if one is None or other is None:
        return False
    if not one.startswith(b"{\n"):
        return one == other
    plain = [json.loads(content) for content in (one, other)]
    for result in plain:
        result.pop("teacher", None)
    return bool(plain[0] == plain[1])


def resume_twice(stopped: Path, out: Path, whole: dict[str, bytes]) -> str:
    shutil.copytree(stopped, out)
    answers = [end(process) for process in [start("distill", "--resume", out) for _ in range(2)]]
    codes = sorted(code for code, _ in answers)
    if codes not in ([0, 0], [0, 2]) or (codes == [0, 2] and not any("in use by" in told for _, told in answers)):
        return f"codes and last lines: {answers}"
    found = contents(out, "metrics.jsonl", "predictions.csv", "best.safetensors")
    return "" if found == whole else "differs from a run that was left alone"


def stopped_run(data: Path, folder: Path) -> tuple[Path, dict[str, bytes]]:
    """A run that was killed after some epochs, and the files of the same run without interruption."""
    words = ["--data", data, "--method", "kd", "--epochs", "40", "--optim.patience", "40", "--run.threads", "1"]
    end(start("distill", *words, "--out", folder / "whole"))
    (whole,) = list((folder / "whole").glob("*-kd-*"))
    (teacher,) = list((folder / "whole").glob("*-teacher-*"))
    process = start("distill", *words, "--teacher", teacher, "--out", folder / "killed")
    while process.poll() is None:
        states = list((folder / "killed").glob("*/metrics.jsonl"))
        if states and len(states[0].read_text().splitlines()) > 3:
            process.kill()
            process.wait()
    (stopped,) = (folder / "killed").iterdir()
    if (stopped / "result.json").exists():
        raise RuntimeError("the run ended before it could be killed")
    return stopped, contents(whole, "metrics.jsonl", "predictions.csv", "best.safetensors")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_data(folder / "toy")
        stopped, whole = stopped_run(data, folder)
        for trial in range(arguments.times):
            if trial % 2:
                kind, wrong = "resume", resume_twice(stopped, folder / f"run{trial}", whole)
            else:
                kind, wrong = "compare", compare_twice(data, folder / f"grid{trial}", folder / "alone")
            failed += bool(wrong)
            print(f"trial {trial}, two {kind}: {wrong or 'nothing lost, nothing double'}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
