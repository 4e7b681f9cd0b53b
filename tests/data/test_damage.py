"""Damaged data are either read or refused in one line that names the file; nothing crashes and nothing hangs."""

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from pkdot.config import DataConfig
from pkdot.data import open_dataset
from pkdot.data.loader import check_sample
from pkdot.data.synthetic.affect import AffectStory
from pkdot.data.synthetic.affwild2 import SyntheticAffWild2Spec, write_synthetic_affwild2
from pkdot.data.synthetic.biovid import SyntheticBioVidSpec, write_synthetic_biovid

TOML = """
name = "tiny"
task = "classification"
targets = ["answer"]
classes = ["low", "high"]
prevalent = ["face", "clip"]
privileged = ["sound", "motion", "vector", "array"]
modalities.face = {kind = "image", source = "files"}
modalities.clip = {kind = "video", source = "files"}
modalities.sound = {kind = "audio", source = "files", rate_hz = 8000}
modalities.motion = {kind = "signal", source = "files", rate_hz = 50}
modalities.vector = {kind = "vector", source = "files"}
modalities.array = {kind = "signal", source = "array"}
"""
CELLS = ("1e999", "nan", "-1e30", "9" * 5000, "", "1_0", "\0", "../x", "/dev/zero", '"', ";", "\t", "x" * 10_000, "2")
HEADERS = (
    "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 16)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
    "(" * 3000,
    "'''",
)

Damage = Callable[[Path, random.Random], object]


def write_manifest(folder: Path) -> str:
    """Four samples of two people, with a modality of each kind and source."""
    generator = np.random.default_rng(0)
    for name in ("face", "sound", "motion", "vector"):
        (folder / name).mkdir(parents=True)
    rows = ["id,subject,answer,face,clip,sound,motion,vector"]
    for i in range(4):
        for file in (f"face/{i}.png", f"clip{i}/0.jpg", f"clip{i}/1.jpg"):
            (folder / file).parent.mkdir(exist_ok=True)
            Image.fromarray(generator.integers(0, 255, (9, 8, 3), dtype=np.uint8)).save(folder / file)
        wavfile.write(folder / "sound" / f"{i}.wav", 8000, generator.integers(-99, 99, 200).astype(np.int16))
        np.savetxt(folder / "motion" / f"{i}.csv", generator.normal(size=(9, 2)), "%.3f", ",")
        np.save(folder / "vector" / f"{i}.npy", generator.normal(size=3))
        word = ("low", "high")[i % 2]
        rows.append(f"s{i},p{i // 2},{word},face/{i}.png,clip{i},sound/{i}.wav,motion/{i}.csv,vector/{i}.npy")
    (folder / "samples.csv").write_text("\n".join(rows) + "\n")
    (folder / "dataset.toml").write_text(TOML)
    np.save(folder / "array.npy", generator.normal(size=(4, 2, 5)))
    return str(folder)


def write_biovid(folder: Path) -> str:
    """Two people, two clips each."""
    write_synthetic_biovid(folder, SyntheticBioVidSpec(subjects=2, per_class=1, frames=2, size=8))
    return f"biovid:{folder}"


def write_affwild2(folder: Path) -> str:
    """Three videos; every frame is read."""
    story = AffectStory(invalid=0.0)
    write_synthetic_affwild2(folder, SyntheticAffWild2Spec(2, 1, frames=5, fps=12, size=8, story=story))
    return f"affwild2:{folder}"


WRITERS = {"manifest": write_manifest, "biovid": write_biovid, "affwild2": write_affwild2}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path]]:
    """The value of ``--data`` and the folder of each set."""
    folders = {name: tmp_path_factory.mktemp(name) / "data" for name in WRITERS}
    return {name: (WRITERS[name](folder), folder) for name, folder in folders.items()}


def spoil(change: Callable[[bytearray, random.Random], bytes | bytearray]) -> Damage:
    """Change some bytes of a file."""

    def damage(file: Path, rng: random.Random) -> None:
        file.write_bytes(change(bytearray(file.read_bytes()), rng))

    return damage


def flip(content: bytearray, rng: random.Random) -> bytearray:
    """Positions anywhere in the file, or near its start."""
    reach = rng.choice([len(content), 130])
    for _ in range(rng.choice([1, 3, 30])):
        content[rng.randrange(min(len(content), reach))] = rng.randrange(256)
    return content


def change_cell(content: bytearray, rng: random.Random) -> bytes:
    """Replace a cell of a table, or a value of a TOML file."""
    lines = bytes(content).decode().split("\n")
    place = rng.randrange(len(lines) - 1)
    mark = next((mark for mark in ",\t=" if mark in lines[place]), ",")
    cells = lines[place].split(mark)
    cells[rng.randrange(len(cells))] = rng.choice(CELLS)
    lines[place] = mark.join(cells)
    return "\n".join(lines).encode()


def change_header(content: bytearray, rng: random.Random) -> bytes:
    """Change the header of an array."""
    header = rng.choice(HEADERS).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content[128:]


def instead(make: Callable[[Path], object]) -> Damage:
    """Put something else in the place of the file."""

    def damage(file: Path, rng: random.Random) -> None:
        file.unlink()
        make(file)

    return damage


def grow(file: Path, rng: random.Random) -> None:
    """A sparse file: it claims to be huge and takes no room."""
    with file.open("r+b") as content:
        content.truncate(2**33)


def exchange(file: Path, rng: random.Random) -> None:
    """Put the content of another file into the file."""
    shutil.copyfile(rng.choice(sorted(path for path in file.parents[1].rglob("*.*") if path.is_file())), file)


REFUSED: dict[str, Damage] = {
    "pipe": instead(os.mkfifo),
    "folder": instead(Path.mkdir),
    "device": instead(lambda file: file.symlink_to("/dev/zero")),
    "link to nothing": instead(lambda file: file.symlink_to("gone")),
    "link to itself": instead(lambda file: file.symlink_to(file.name)),
    "empty": spoil(lambda content, rng: b""),
    "huge": grow,
    "UTF-16": spoil(lambda content, rng: bytes(content).decode("latin-1").encode("utf-16")),
}
"""After these, the file must be refused."""
OTHERS: dict[str, Damage] = {
    "cut": spoil(lambda content, rng: content[: rng.randrange(len(content))]),
    "flipped": spoil(flip),
    "noise": spoil(lambda content, rng: rng.randbytes(rng.choice([1, 100, 20_000]))),
    "twice": spoil(lambda content, rng: content * 2),
    "longer": spoil(lambda content, rng: content + rng.randbytes(rng.choice([1, 8, 100]))),
    "exchanged": exchange,
    "gone": lambda file, rng: file.unlink(),
}
"""After these, the file may be read or refused."""
OF_TEXT: dict[str, Damage] = {f"cell {number}": spoil(change_cell) for number in range(8)}
OF_ARRAYS: dict[str, Damage] = {f"header {number}": spoil(change_header) for number in range(8)}
"""These are tried more often."""


@contextmanager
def in_time() -> Iterator[None]:
    """Fail instead of waiting for ever."""

    def stop(number: int, frame: object) -> None:
        pytest.fail("still reading after 20 s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read_all(source: str) -> None:
    """Open a set and read every sample, as a run would."""
    dataset = open_dataset(DataConfig(source=source, frames=2, image_size=8))
    for index, record in enumerate(dataset.records):
        check_sample(dataset.read(index), record, dataset.schema)


@pytest.mark.parametrize("number", range(60))
@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_read_or_named(
    sets: dict[str, tuple[str, Path]], tmp_path: Path, name: str, number: int
) -> None:
    source, folder = sets[name]
    rng = random.Random(f"{name} {number}")
    files = sorted(path for path in folder.rglob("*.*") if path.is_file() and "latents" not in str(path))
    suffix = rng.choice(sorted({path.suffix for path in files}))
    file = rng.choice([path for path in files if path.suffix == suffix])
    of_sort = {".npy": OF_ARRAYS, ".csv": OF_TEXT, ".txt": OF_TEXT, ".toml": OF_TEXT}
    kinds = REFUSED | OTHERS | of_sort.get(file.suffix, {})
    damage = rng.choice(list(kinds))
    shutil.copyfile(file, tmp_path / "whole")
    kinds[damage](file, rng)
    said = ""
    try:
        with in_time():
            read_all(source)
    except ValueError as error:
        said = str(error)
    finally:
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        shutil.copyfile(tmp_path / "whole", file)
    if said or damage in REFUSED:
        assert file.name in said or file.parent.name in said, f"{damage} {file}: {said}"
        assert "\n" not in said


def test_the_sets_are_whole_when_nothing_is_damaged(sets: dict[str, tuple[str, Path]]) -> None:
    for source, _ in sets.values():
        read_all(source)
