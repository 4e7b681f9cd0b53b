"""A synthetic BioVid: simulated people under heat pain, in the layout of the real data set."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pkdot.checks import check_range
from pkdot.config import DataConfig
from pkdot.data import media
from pkdot.data.biovid import CHANNELS, LEVELS, RATE_HZ, SAMPLES, BioVid
from pkdot.data.cache import cached_folder, recipe_digest
from pkdot.data.media import write_frames
from pkdot.data.synthetic import courses, faces, pain
from pkdot.data.synthetic.faces import ACTION_UNITS
from pkdot.data.synthetic.pain import Body, Face, PainStory, draw_person, felt_pain, film, record_body
from pkdot.data.tables import write_lines

MOST_SUBJECTS = 1800
"""Number of different subject names."""

_MAKERS = (courses, faces, media, pain, sys.modules[__name__])
_SET = 1
"""Part of every seed: the synthetic sets have different people."""
_FIRST_BASELINE = 81
_DECIMALS = {"gsr": 3, "ecg": 0, "emg_trapezius": 1, "emg_corrugator": 1, "emg_zygomaticus": 1}


@dataclass(frozen=True)
class SyntheticBioVidSpec:
    """How large a set is, and how it is made. Equal specs give equal files.

    >>> SyntheticBioVidSpec(subjects=2).classes
    ('BL1', 'PA4')
    """

    subjects: int = 40
    per_class: int = 10
    """Clips of each class per subject (number)."""
    levels: Literal["binary", "ordinal"] = "binary"
    """binary: BL1 and PA4; ordinal: all five levels."""
    part: Literal["A", "B"] = "A"
    frames: int = 12
    """Frames of a clip (number)."""
    size: int = 48
    """Side of a frame (pixels)."""
    seed: int = 0
    story: PainStory = field(default_factory=PainStory)

    def __post_init__(self) -> None:
        check_range("subjects", self.subjects, 1, MOST_SUBJECTS)
        check_range("per_class", self.per_class, 1, 100)
        check_range("frames", self.frames, 1, 99_999)
        check_range("size", self.size, 8, 4096)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the levels that occur."""
        return (LEVELS[0], LEVELS[-1]) if self.levels == "binary" else LEVELS


@dataclass(frozen=True)
class Trial:
    """One simulated clip: its name and number, and what was simulated.

    >>> trial = next(simulate_trials(SyntheticBioVidSpec(subjects=1, per_class=1, frames=2, size=8)))
    >>> trial.name, trial.face.frames.shape, trial.body.signal.shape
    ('070124_m_51-BL1-081', (2, 8, 8, 3), (3, 2816))
    """

    subject_number: int
    subject: str
    level: int
    number: int
    pain: float
    face: Face
    body: Body

    @property
    def name(self) -> str:
        """As in the real set: subject, class and number within the session."""
        return f"{self.subject}-{LEVELS[self.level]}-{self.number:03d}"


def simulate_trials(spec: SyntheticBioVidSpec) -> Iterator[Trial]:
    """Yield all trials, subject by subject, in the order of each subject's session.

    Person, face and body have random generators of their own, seeded by set, subject and trial: a larger set begins
    with the same trials.

    >>> spec = SyntheticBioVidSpec(subjects=2, per_class=1, frames=2, size=8)
    >>> [trial.name for trial in simulate_trials(spec)]
    ['070124_m_51-BL1-081', '070124_m_51-PA4-001', '090231_w_45-PA4-001', '090231_w_45-BL1-081']
    """
    for index in range(spec.subjects):
        rng = _generator(spec, index)
        name, person = _subject_name(spec, index, rng), draw_person(rng, spec.story)
        levels = np.repeat([LEVELS.index(name) for name in spec.classes], spec.per_class)
        rng.shuffle(levels)
        for trial, (level, number) in enumerate(zip(levels, _session_numbers(levels), strict=True)):
            pain = felt_pain(person, int(level), _generator(spec, index, trial, 0), spec.story)
            face = film(person, pain, _generator(spec, index, trial, 1), spec.story, spec.frames, spec.size)
            body = record_body(person, pain, face, _generator(spec, index, trial, 2), spec.story, spec.part)
            yield Trial(index + 1, name, int(level), int(number), pain, face, body)


def write_synthetic_biovid(root: Path, spec: SyntheticBioVidSpec | None = None) -> Path:
    """Write the set below the folder ``root`` and return the folder of its part, ``root/PartA`` or ``root/PartB``.

    The file ``latents.csv``, which no reader opens, has what was felt and shown in each clip.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     part = write_synthetic_biovid(Path(folder), SyntheticBioVidSpec(1, per_class=1, frames=2, size=8))
    ...     part.name, sorted(path.name for path in part.iterdir())
    ('PartA', ['biosignals_filtered', 'latents.csv', 'starting_point', 'video_frames'])
    """
    spec = SyntheticBioVidSpec() if spec is None else spec
    folder = root / f"Part{spec.part}"
    samples = ["\t".join(("subject_id", "subject_name", "class_id", "class_name", "sample_id", "sample_name"))]
    latents = [",".join(("sample_name", "felt", "face", "body", *ACTION_UNITS))]
    template = _signal_template(CHANNELS[spec.part])
    trials = spec.subjects * spec.per_class * len(spec.classes)
    for trial in tqdm(simulate_trials(spec), f"making {folder.name}", trials, unit="clip", leave=False, disable=None):
        write_frames(folder / "video_frames" / trial.subject / trial.name, "img_{:05d}.jpg", trial.face.frames)
        bio = folder / "biosignals_filtered" / trial.subject / f"{trial.name}_bio.csv"
        _write_signal(bio, trial.body.signal, template)
        cells = (trial.subject_number, trial.subject, trial.level, LEVELS[trial.level], trial.number, trial.name)
        samples.append("\t".join(str(cell) for cell in cells))
        hidden = (trial.pain, trial.face.amplitude, trial.body.amplitude, *trial.face.units.max(0))
        latents.append(",".join((trial.name, *(f"{value:.4f}" for value in hidden))))
    write_lines(folder / "starting_point" / "samples.csv", samples)
    write_lines(folder / "latents.csv", latents)
    return folder


class SyntheticBioVid:
    """The synthetic set: made in the cache on first use, then read like the real one.

    >>> SyntheticBioVid.open(Path("mydata"), DataConfig())
    Traceback (most recent call last):
    ValueError: synthetic-biovid is made in the cache and takes no path, got mydata; use biovid:mydata.
    """

    @classmethod
    def open(cls, path: Path | None, config: DataConfig) -> BioVid:
        """Open the set of ``config.biovid``; make it if the cache does not have it.

        Raises:
            ValueError: a path was given, or the cache cannot be written.
        """
        if path is not None:
            raise ValueError(f"synthetic-biovid is made in the cache and takes no path, got {path}; use biovid:{path}.")
        spec = default_spec(config)
        name = f"biovid-{spec.part}-{spec.levels}-seed{spec.seed}-{recipe_digest(spec, *_MAKERS)}"
        folder = cached_folder(config.cache_dir, name, lambda root: write_synthetic_biovid(root, spec))
        dataset = BioVid.read_layout(folder, config, name="synthetic-biovid")
        dataset.generated = name
        return dataset


def default_spec(config: DataConfig) -> SyntheticBioVidSpec:
    """The spec of the set that a config asks for. No set takes more than 100 MB, or 20 s on one core.

    >>> from pkdot.config import BioVidConfig
    >>> default_spec(DataConfig(biovid=BioVidConfig(levels="ordinal"))).per_class
    4
    """
    per_class = {("A", "binary"): 10, ("B", "binary"): 8, ("A", "ordinal"): 4, ("B", "ordinal"): 3}
    part, levels = config.biovid.part, config.biovid.levels
    return SyntheticBioVidSpec(per_class=per_class[part, levels], levels=levels, part=part)


def _generator(spec: SyntheticBioVidSpec, *key: int) -> np.random.Generator:
    # Numbers are shifted by one, because numpy takes [a] and [a, 0] for the same key.
    return np.random.default_rng([spec.seed, _SET, *(number + 1 for number in key)])


def _subject_name(spec: SyntheticBioVidSpec, index: int, rng: np.random.Generator) -> str:
    """Month, day, number, sex and age. The number is larger than every real one: no name is that of a participant."""
    code = (spec.seed * 101 + index * 617) % MOST_SUBJECTS
    month, day, number = 7 + code // 300, 1 + code % 300 // 10, 24 + code % 10
    return f"{month:02d}{day:02d}{number:02d}_{'mw'[index % 2]}_{rng.integers(20, 66)}"


def _session_numbers(levels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers in the order of the session: pain trials from 1, baselines from 81."""
    pain = levels > 0
    baseline = max(_FIRST_BASELINE, int(pain.sum()) + 1)
    return np.where(pain, np.cumsum(pain), baseline - 1 + np.cumsum(~pain))


def _signal_template(channels: tuple[str, ...]) -> str:
    """A signal file without its values: formatting one string is many times faster than one for each row."""
    values = "\t".join(f"%.{_DECIMALS[channel]}f" for channel in channels)
    times = np.round(np.arange(SAMPLES) * 1e6 / RATE_HZ).astype(int)
    rows = [f"{time}\t{values}" for time in times]
    return "\n".join(["\t".join(("time", *channels)), *rows, ""])


def _write_signal(path: Path, signal: NDArray[np.float64], template: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(template % tuple(signal.T.ravel().tolist()), encoding="ascii", newline="\n")
