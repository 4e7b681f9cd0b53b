"""Kill a run with SIGKILL at random moments, resume it, and compare its files with those of an uninterrupted run.

    python -m benchmarks.kill_and_resume --times 10 -- --data FOLDER --epochs 4 --run.threads 1 --run.checkpoint-steps 3

Everything after ``--`` goes to ``pkdot-distill``; a teacher is trained once before. It prints a line for each trial and
ends with exit code 1 if any trial differs.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMPARED = ("best.safetensors", "metrics.jsonl", "predictions.csv", "result.json")
DISTILL = [sys.executable, "-c", "import sys; from pkdot.cli.distill import main; sys.exit(main())"]


def distill(*words: str | Path, kill_after: float | None = None) -> bool:
    """Run the command; returns whether it ended before it was killed."""
    process = subprocess.Popen([*DISTILL, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        code = process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return False
    if code:
        raise RuntimeError(f"pkdot-distill ended with code {code}")
    return True


def contents(run: Path) -> dict[str, bytes]:
    """The contents that must be equal."""
    return {str(path.relative_to(run)): path.read_bytes() for name in COMPARED for path in sorted(run.rglob(name))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("flags", nargs="*", help="flags of pkdot-distill, behind --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        distill(*arguments.flags, "--out", root / "teacher")
        (teacher,) = (root / "teacher").glob("*-teacher-*")
        flags = [*arguments.flags, "--teacher", teacher, "--with-control"]
        begun = time.monotonic()
        distill(*flags, "--out", root / "whole")
        seconds = time.monotonic() - begun
        (whole,) = (root / "whole").iterdir()
        expected, differing = contents(whole), 0
        for trial in range(arguments.times):
            generator, out, kills = random.Random(trial), root / f"trial{trial}", 0
            words: list[str | Path] = [*flags, "--out", out]
            while not distill(*words, kill_after=generator.uniform(0.3, 1.0) * seconds):
                kills += 1
                runs = [run for run in out.glob("*") if (run / "config.toml").exists()]
                words = ["--resume", runs[0]] if runs else words
            (run,) = [run for run in out.iterdir() if (run / "result.json").exists()]
            same = contents(run) == expected
            differing += not same
            print(f"trial {trial}: killed {kills} times, {'bit-identical' if same else 'DIFFERS'}", flush=True)
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
