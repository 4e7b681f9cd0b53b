"""How many epochs small data need: the teacher's test score by ``--epochs``, with defaults for all other settings.

    python -m benchmarks.epochs --epochs 20 auto --write benchmarks/results/epochs.md
    python -m benchmarks.epochs --data synthetic-biovid digits --epochs 10 20 40 --write benchmarks/results/epochs.md

Without ``--data`` the data are toy sets with separable classes of equal size and 12 people. Vectors are Gaussian clouds
8 standard deviations apart, each class of signals has its own curve, and images have a bright spot in the upper or the
lower half. The prevalent modality is a vector from clouds 3 standard deviations apart. Each seed draws its own samples
and its own split. ``--write`` appends to the file.
"""

import argparse
import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pkdot.config import DataConfig, OptimConfig, RunConfig, TeacherRunConfig
from pkdot.data import augment
from pkdot.data.study import open_study
from pkdot.training.schedule import length, resolved
from pkdot.training.teacher import train_teacher

PEOPLE = 12
TOYS = {"vectors, 2 classes": 2, "vectors, 4 classes": 4, "signals, 3 classes": 3, "images, 2 classes": 2}
Array = NDArray[np.float64]


def clusters(generator: np.random.Generator, classes: NDArray[np.int64], width: int, apart: float) -> Array:
    """Gaussian clouds of deviation 1 whose centres are ``apart``: ``(n, width)``."""
    centres = np.linalg.qr(generator.normal(size=(width, width)))[0][: classes.max() + 1] * apart / np.sqrt(2)
    return np.asarray(centres[classes] + generator.normal(size=(len(classes), width)))


def curves(generator: np.random.Generator, classes: NDArray[np.int64]) -> Array:
    """A random curve of 2 to 8 cycles for each class in 2 channels, with as much noise as curve: ``(n, 2, 64)``."""
    shape = (classes.max() + 1, 2, 7, 1)
    angles = 2 * np.pi * np.arange(2, 9)[:, None] * np.arange(64) / 64 + generator.uniform(0, 2 * np.pi, shape)
    curve = np.sqrt(2 / 7) * np.sin(angles).sum(2)
    return np.asarray(curve[classes] + generator.normal(size=(len(classes), 2, 64)))


def spots(generator: np.random.Generator, classes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A bright spot above or below, anywhere from left to right: ``(n, 16, 16, 1)``."""
    rows, columns = np.mgrid[:16, :16]
    down, right = (4 + 8 * classes)[:, None, None], generator.uniform(4, 12, (len(classes), 1, 1))
    light = 0.2 + 0.6 * np.exp(-((rows - down) ** 2 + (columns - right) ** 2) / 8)
    return np.asarray(255 * np.clip(light + generator.normal(0, 0.1, light.shape), 0, 1), np.uint8)[..., None]


def write_toy(folder: Path, toy: str, samples: int, seed: int) -> Path:
    """A manifest folder of one of the toy sets."""
    generator, count = np.random.default_rng([seed, samples]), TOYS[toy]
    classes = np.arange(samples) % count
    kind = toy.split(",")[0].removesuffix("s")
    makers = {
        "vector": lambda: clusters(generator, classes, 6, 8.0).astype(np.float32),
        "signal": lambda: curves(generator, classes).astype(np.float32),
        "image": lambda: spots(generator, classes),
    }
    folder.mkdir(parents=True)
    np.save(folder / "prevalent.npy", clusters(generator, classes, 8, 3.0).astype(np.float32))
    np.save(folder / "privileged.npy", makers[kind]())
    rows = [f"{i},{i * PEOPLE // samples},{name}" for i, name in enumerate(classes)]
    (folder / "samples.csv").write_text("id,subject,answer\n" + "\n".join(rows) + "\n", encoding="utf-8")
    rate = "rate_hz = 50\n" if kind == "signal" else ""
    (folder / "dataset.toml").write_text(
        f'name = "toy"\ntask = "classification"\ntargets = ["answer"]\n'
        f"classes = {json.dumps([str(name) for name in range(count)])}\n"
        'prevalent = ["prevalent"]\nprivileged = ["privileged"]\n'
        '\n[modalities.prevalent]\nkind = "vector"\nsource = "array"\n'
        f'\n[modalities.privileged]\nkind = "{kind}"\nsource = "array"\n{rate}',
        encoding="utf-8",
    )
    return folder


def score(source: str, optim: OptimConfig, seed: int, work: Path) -> tuple[float, int, int]:
    """The teacher's test score, the epochs that it was given, and the training samples."""
    data = DataConfig(source=source, split_seed=seed)
    study = open_study(data, optim, seed)
    with tempfile.TemporaryDirectory(dir=work) as out:
        run = train_teacher(TeacherRunConfig(data, optim=optim, run=RunConfig(out=Path(out), seed=seed)), study)
    return (
        run.metrics[run.result["primary_metric"]],
        length(resolved(optim, len(study.splits.train)))[0],
        len(study.splits.train),
    )


def row(name: str, sources: list[str], settings: list[OptimConfig], work: Path) -> str:
    """A line of the table: the mean and the worst score over the seeds, for each setting."""
    cells, samples = [], 0
    for optim in settings:
        found = [score(source, optim, seed, work) for seed, source in enumerate(sources)]
        scores, samples = [value for value, _, _ in found], found[0][2]
        cells.append(f"{sum(scores) / len(scores):.3f} ({min(scores):.3f})")
    auto = length(resolved(OptimConfig(), samples))[0]
    line = f"| {name} | {samples} | {auto} | " + " | ".join(cells) + " |"
    print(line, flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", nargs="+", default=["20", "auto"])
    parser.add_argument("--samples", nargs="+", type=int, default=[60, 120, 300, 3000])
    parser.add_argument("--data", nargs="+", default=[], help="data sets in place of the toys")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--vector-noise", type=float, default=augment.VECTOR_NOISE, help="in place of the package's")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    augment.VECTOR_NOISE = given.vector_noise
    settings = [OptimConfig(epochs="auto" if word == "auto" else int(word)) for word in given.epochs]
    head = [f"| data | training samples | auto | {' | '.join(given.epochs)} |", "|---|" + "---|" * (2 + len(settings))]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        lines = [row(Path(source).name, [source] * given.seeds, settings, work) for source in given.data]
        for toy in [] if given.data else TOYS:
            for samples in given.samples:
                place = work / f"{toy}-{samples}"
                sources = [str(write_toy(place / str(seed), toy, samples, seed)) for seed in range(given.seeds)]
                lines.append(row(f"{toy}, {samples}", sources, settings, work))
    if given.write:
        words = f"--data {' '.join(Path(source).name for source in given.data)} " if given.data else ""
        command = f"python -m benchmarks.epochs {words}--epochs {' '.join(given.epochs)} --seeds {given.seeds}"
        made = f"{platform.machine()}, torch {torch.__version__}. Mean (worst) of {given.seeds} seeds."
        with given.write.open("a", encoding="utf-8") as file:
            file.write("\n".join([f"`{command}`", "", made, "", *head, *lines, "", ""]))


if __name__ == "__main__":
    main()
