"""The manifest, for own data without code: a folder with dataset.toml, samples.csv, and arrays or files."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from pkdot.config import DataConfig
from pkdot.data.batch import Modality, Record, Schema
from pkdot.data.description import Description, Source
from pkdot.data.disk import Bounds, brief, file_status, folder_at, reason
from pkdot.data.files import MappedArray, check_values, files_behind, read_file
from pkdot.data.samples import classes_in, read_samples, records_of
from pkdot.data.tables import Row
from pkdot.tasks import Task

log = logging.getLogger(__name__)

DESCRIPTION, SAMPLES = "dataset.toml", "samples.csv"


@dataclass(frozen=True)
class Location:
    """Where the samples of a modality are: in the rows of ``array``, or in one file each (None: missing).

    >>> Location(Modality("vector", (6,)), files=(Path("a.npy"), None)).files[1] is None
    True
    """

    modality: Modality
    array: MappedArray | None = None
    files: tuple[Path | None, ...] = ()


@dataclass(eq=False)
class Manifest:
    r"""A data set in a folder of its own, which dataset.toml and samples.csv describe.

    Each line of samples.csv is a record. An empty target cell makes the sample unlabelled; an empty path cell makes
    its modality missing.

    >>> from tempfile import TemporaryDirectory
    >>> toml = ["name='toy'", "task='regression'", "targets=['y']", "prevalent=['x']"]
    >>> toml += ["modalities.x={kind='vector', source='files'}"]
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "dataset.toml").write_text("\n".join(toml))
    ...     _ = Path(folder, "samples.csv").write_text("id,subject,y,x\na,anna,0.5,a.csv\nb,bert,,")
    ...     _ = Path(folder, "a.csv").write_text("1,2,3")
    ...     dataset = Manifest.open(Path(folder), DataConfig())
    ...     [(record.target, dataset.read(index)) for index, record in enumerate(dataset.records)]
    [((0.5,), {'x': tensor([1., 2., 3.])}), (None, {})]
    """

    schema: Schema
    records: Sequence[Record]
    folder: Path
    bounds: Bounds = field(repr=False)
    locations: dict[str, Location] = field(repr=False)
    rows: Sequence[Row] = field(repr=False)
    config: DataConfig = field(repr=False)

    @classmethod
    def open(cls, path: Path | None, config: DataConfig) -> "Manifest":
        """Read dataset.toml and samples.csv, and find the shapes; a modality in files gets the shape of its first file.

        Args:
            path: the folder, or the dataset.toml in it.
            config: the settings for reading files.

        Raises:
            ValueError: in one line: the file, the line and the field, what came and what was expected.
        """
        if path is None:
            raise ValueError("a manifest needs its folder: --data manifest:FOLDER, or --data FOLDER.")
        folder = folder_at(path.parent if path.name == DESCRIPTION and not path.is_dir() else path)
        bounds = Bounds(folder, config.outside)
        toml = Description(bounds.check(folder / DESCRIPTION))
        name, kind, targets, classes = toml.name(), toml.task(), toml.targets(), toml.classes()
        declared, prevalent, privileged = toml.modalities()
        from_files = [modality for modality, source in declared.items() if source.source == "files"]
        rows = read_samples(bounds.check(folder / SAMPLES), ["id", "subject", *targets, *from_files])
        if classes is None:
            classes = classes_in(rows, targets[0], ordered=kind == "ordinal")
            log.info("%s: classes as in column %s: %s", toml.path, targets[0], brief(", ".join(classes)))
        task = Task(kind, targets, classes)
        records = records_of(rows, task)
        locations = {key: _locate(key, source, bounds, rows, config) for key, source in declared.items()}
        schema = Schema(
            name, task, {key: location.modality for key, location in locations.items()}, prevalent, privileged
        )
        return cls(schema, records, folder, bounds, locations, rows, config)

    def read(self, index: int) -> dict[str, Tensor]:
        """Read one sample. A missing modality has no entry. Raises ``ValueError`` with the file's name."""
        found = {}
        for name, location in self.locations.items():
            row, modality = self.rows[index], location.modality
            if location.array is not None:
                where = f"{location.array.path}, row {index} ({row.path.name}, line {row.line})"
                found[name] = location.array[index]
            elif (file := location.files[index]) is not None:
                where = f"{file} ({row.path.name}, line {row.line}, field {name})"
                found[name] = read_file(
                    file, location.modality.kind, location.modality.rate_hz, self.config, self.bounds
                )
            else:
                continue
            check_values(found[name], modality, where)
        return found

    def read_together(self, indices: Sequence[int]) -> dict[str, Tensor] | None:
        """Read several samples at once; None unless all modalities are arrays."""
        arrays = {name: location.array for name, location in self.locations.items() if location.array is not None}
        if len(arrays) < len(self.locations):
            return None
        return {name: array[indices] for name, array in arrays.items()}

    def contents(self) -> Iterator[Path]:
        """Yield every file that the data set is read from, once, in the order of its tables."""
        yield self.folder / DESCRIPTION
        yield self.rows[0].path
        sources: dict[Path, None] = {}
        for location in self.locations.values():
            if location.array is not None:
                yield location.array.path
            sources.update(dict.fromkeys(path for path in location.files if path is not None))
        for source in sources:
            yield from (self.bounds.listed(file) for file in files_behind(source))


def _locate(name: str, source: Source, bounds: Bounds, rows: Sequence[Row], config: DataConfig) -> Location:
    if source.source == "array":
        array = MappedArray(bounds.check(bounds.folder / f"{name}.npy"), source.kind, len(rows))
        return Location(Modality(source.kind, tuple(array[0].shape), source.rate_hz), array=array)
    files = tuple(_file(row, name, source, bounds) if row.cells[name] else None for row in rows)
    known = next((file for file in files if file is not None), None)
    if known is None:
        raise ValueError(f"{rows[0].path}, field {name}: expected a path for one sample at least, got none.")
    shape = tuple(read_file(known, source.kind, source.rate_hz, config, bounds).shape)
    return Location(Modality(source.kind, shape, source.rate_hz), files=files)


def _file(row: Row, name: str, source: Source, bounds: Bounds) -> Path:
    """The file, or the folder of pictures, that a cell names."""
    file = bounds.folder / row.cells[name]
    try:
        place = bounds.outside_place(file)
        if place is None and not (source.kind == "video" and file.is_dir()):
            file_status(file)
    except (OSError, ValueError) as error:
        raise row.error(name, f"a file below {bounds.folder}: {reason(error)}") from error
    if place is not None:
        raise row.error(name, f"a file in the data folder, but this path leads to {place} (--data.outside allows it)")
    return file
