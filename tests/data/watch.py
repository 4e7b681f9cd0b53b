"""A data set of four samples of three people, for tests that damage it."""

from pathlib import Path

import numpy as np
import pytest

from pkdot.config import DataConfig
from pkdot.data.manifest import Manifest

TOML = """
name = "watch"
task = "classification"
targets = ["exercise"]
classes = ["row", "press"]
prevalent = ["accelerometer"]
privileged = ["gyroscope"]

[modalities.accelerometer]
kind = "signal"
source = "array"
rate_hz = 50

[modalities.gyroscope]
kind = "vector"
source = "files"
"""
CSV = """id,subject,exercise,gyroscope
a,anna,row,gyro/a.npy
b,anna,press,
c,bert,,gyro/c.npy
d,carl,press,gyro/d.npy
"""


def write_watch(folder: Path) -> Path:
    """Four samples of three people; b lacks its gyroscope, c its label."""
    (folder / "dataset.toml").write_text(TOML)
    (folder / "samples.csv").write_text(CSV)
    (folder / "gyro").mkdir()
    np.save(folder / "accelerometer.npy", np.arange(4 * 3 * 10, dtype=np.float64).reshape(4, 3, 10))
    for number, name in enumerate("acd"):
        np.save(folder / "gyro" / f"{name}.npy", np.full(6, number, np.int16))
    return folder


def open_manifest(folder: Path) -> Manifest:
    return Manifest.open(folder, DataConfig(frames=3, image_size=8))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refusal(folder: Path) -> str:
    """The error of opening the folder and reading all samples."""
    with pytest.raises(ValueError) as caught:
        [manifest.read(index) for manifest in [open_manifest(folder)] for index in range(len(manifest.records))]
    assert "\n" not in str(caught.value)
    return str(caught.value)
