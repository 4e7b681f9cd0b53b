"""Read the BioVid Heat Pain Database, Parts A and B, in the layout in which its owners deliver it.

::

    PartA/
      starting_point/samples.csv                                 (or PartA/samples.csv)
      video/<subject>/<sample>.mp4                               (or video_frames/<subject>/<sample>/img_00001.jpg ...)
      biosignals_filtered/<subject>/<sample>_bio.csv
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pkdot.config import DataConfig
from pkdot.data.batch import Modality, Record, Schema
from pkdot.data.disk import Bounds, by_number, folder_at, something_at, visible
from pkdot.data.media import evenly_spaced, read_frames, read_mp4
from pkdot.data.tables import Row, read_numbers, read_rows
from pkdot.tasks import Task

LEVELS = ("BL1", "PA1", "PA2", "PA3", "PA4")
SECONDS = 5.5
RATE_HZ = 512
SAMPLES = 2816
CHANNELS = {
    "A": ("gsr", "ecg", "emg_trapezius"),
    "B": ("gsr", "ecg", "emg_trapezius", "emg_corrugator", "emg_zygomaticus"),
}
"""Biosignals by part. In Part A no electrodes were on the face: its files may have those columns, without meaning."""

BASELINE_ROWS = 512
"""Rows in the first second of a clip: their mean is subtracted from the skin conductance."""

_COLUMNS = ("subject_id", "subject_name", "class_id", "class_name", "sample_id", "sample_name")
_SAMPLE_NAME = re.compile(r"(\d{6}_[mw]_\d{2})-(BL1|PA[1-4])-(\d{3})")
_ROWS = (2800, 2830)


class BioVid:
    """Clips of people under heat pain: video is prevalent, the biosignals (``physio``) are privileged.

    If ``config.biovid.levels`` is "binary", the task is to classify BL1 against PA4, without the clips of other levels.
    If it is "ordinal", the task is the scale BL1 < PA1 < PA2 < PA3 < PA4. The biosignals are in physical units. The
    skin conductance is the change since the clip's first second, because its level differs far more between people
    than it changes within a clip.

    >>> BioVid.open(Path("nowhere"), DataConfig())
    Traceback (most recent call last):
    ValueError: nowhere: no such folder.
    """

    def __init__(self, bounds: Bounds, folder: Path, rows: Sequence[Row], config: DataConfig, name: str):
        classes = (LEVELS[0], LEVELS[-1]) if config.biovid.levels == "binary" else LEVELS
        rows = [row for row in rows if row.cells["class_name"] in classes]
        if not rows:
            raise ValueError(f"{folder}: samples.csv has no sample of the classes {', '.join(classes)}.")
        self.bounds = bounds
        self.folder = folder
        self.generated = ""
        self.table = rows[0].path
        self.config = config
        self.channels = CHANNELS[config.biovid.part]
        self.schema = Schema(
            name=name,
            task=Task("classification" if config.biovid.levels == "binary" else "ordinal", ("pain",), classes),
            modalities={
                "video": Modality(
                    "video", (3, config.frames, config.image_size, config.image_size), config.frames / SECONDS
                ),
                "physio": Modality("signal", (len(self.channels), SAMPLES), RATE_HZ),
            },
            prevalent=("video",),
            privileged=("physio",),
        )
        self.records: Sequence[Record] = [
            Record(
                id=row.cells["sample_name"],
                subject=row.cells["subject_name"],
                target=(float(classes.index(row.cells["class_name"])),),
            )
            for row in rows
        ]

    @classmethod
    def open(cls, path: Path | None, config: DataConfig) -> "BioVid":
        """Open the folder that holds PartA and PartB, or one of these two.

        Raises:
            ValueError: the layout is another one, or samples.csv has a wrong cell, with its line and field.
        """
        if path is None:
            raise ValueError("biovid needs the folder of the data set: --data biovid:PATH.")
        return cls.read_layout(path, config, name="biovid")

    @classmethod
    def read_layout(cls, path: Path, config: DataConfig, *, name: str) -> "BioVid":
        """As :meth:`open`, with a given name in the schema."""
        bounds = Bounds(folder_at(path), config.outside)
        part = config.biovid.part
        folder = path / f"Part{part}"
        folder = folder if something_at(folder) else path
        for table in (folder / "starting_point" / "samples.csv", folder / "samples.csv"):
            if something_at(table):
                rows = read_rows(bounds.check(table), _COLUMNS, "\t")
                _check_rows(rows)
                return cls(bounds, folder, rows, config, name)
        raise ValueError(f"{path}: no BioVid Part {part} here; expected Part{part}/starting_point/samples.csv.")

    def read(self, index: int) -> dict[str, Tensor]:
        """Read ``video`` uint8 ``(3, T, H, W)`` and ``physio`` float32 ``(channels, 2816)``, if their files exist."""
        record = self.records[index]
        readings = {"video": self._video(record), "physio": self._physio(record)}
        return {name: reading for name, reading in readings.items() if reading is not None}

    def contents(self) -> Iterator[Path]:
        """Yield every file that the data set is read from, in the order of samples.csv."""
        yield self.table
        for record in self.records:
            frames = self._frames(record)
            single = [self._biosignals(record)] if frames else [self._film(record), self._biosignals(record)]
            yield from (self.bounds.listed(file) for file in (*frames, *single) if something_at(file))

    def _frames(self, record: Record) -> list[Path]:
        """The pictures of a sample in the order of their numbers; empty if it has no folder of pictures."""
        folder = self.folder / "video_frames" / record.subject / record.id
        if not something_at(folder):
            return []
        found = [folder / name for name in visible(folder, ".jpg") if name.startswith("img_")]
        if not found:
            raise ValueError(f"{folder}: expected frames img_00001.jpg and on, found none.")
        return [self.bounds.check(file) for file in sorted(found, key=by_number)]

    def _film(self, record: Record) -> Path:
        return self.folder / "video" / record.subject / f"{record.id}.mp4"

    def _biosignals(self, record: Record) -> Path:
        return self.folder / "biosignals_filtered" / record.subject / f"{record.id}_bio.csv"

    def _video(self, record: Record) -> Tensor | None:
        count, size = self.config.frames, self.config.image_size
        files, film = self._frames(record), self._film(record)
        if files:
            return torch.from_numpy(read_frames([files[i] for i in evenly_spaced(len(files), count)], size))
        return torch.from_numpy(read_mp4(self.bounds.check(film), count, size)) if something_at(film) else None

    def _physio(self, record: Record) -> Tensor | None:
        path = self._biosignals(record)
        if not something_at(path):
            return None
        signal = read_numbers(self.bounds.check(path), self.channels, "\t")
        least, most = _ROWS
        if not least <= len(signal) <= most:
            raise ValueError(f"{path}: got {len(signal)} rows, expected {least} to {most} (5.5 s at 512 Hz).")
        # A few recordings are some rows too short or too long: repeat the last value, or cut.
        signal = np.pad(signal, ((0, max(0, SAMPLES - len(signal))), (0, 0)), mode="edge")[:SAMPLES]
        conductance = self.channels.index("gsr")
        signal[:, conductance] -= signal[:BASELINE_ROWS, conductance].mean()
        return torch.from_numpy(np.ascontiguousarray(signal.T, dtype=np.float32))


def _check_rows(rows: Sequence[Row]) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        cells = row.cells
        if cells["class_name"] not in LEVELS:
            raise row.error("class_name", f"one of {', '.join(LEVELS)}")
        level = LEVELS.index(cells["class_name"])
        if cells["class_id"] != str(level):
            raise row.error("class_id", f"{level}, the number of class {cells['class_name']}")
        name = _SAMPLE_NAME.fullmatch(cells["sample_name"])
        if name is None:
            raise row.error("sample_name", "subject-class-number, such as 071309_w_21-PA4-006")
        if name[2] != cells["class_name"]:
            raise row.error("sample_name", f"a sample of class {cells['class_name']}")
        if name[1] != cells["subject_name"]:
            raise row.error("subject_name", f"{name[1]}, the subject of sample {cells['sample_name']}")
        if cells["sample_name"] in seen:
            raise row.error("sample_name", f"every sample once, but it is also in line {seen[cells['sample_name']]}")
        seen[cells["sample_name"]] = row.line
