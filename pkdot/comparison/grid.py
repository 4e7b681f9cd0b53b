"""What is compared: data sets x regimes x entries, and the settings of each run.

A grid is three named lists of settings, with the names that a recipe of ``pkdot-distill`` uses. A run's settings are
those of its data set, of its regime and of its entry; later ones win.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pkdot.comparison.report.scores import ALL_LABELS, NONE, PREVALENT_TEACHER, SELF_TRAINING
from pkdot.config import DataConfig, DistillConfig, ModelConfig, OptimConfig, RunConfig, StudentRunConfig
from pkdot.recipes import settings_from

Settings = Mapping[str, Mapping[str, Any]]
"""Section to name to value, as in a recipe."""

TeacherKind = Literal["privileged", "prevalent", "self"]
"""Who teaches: a teacher on all modalities, the same without the privileged ones, or the student's own architecture."""

SECTIONS = {"data": DataConfig, "model": ModelConfig, "optim": OptimConfig, "distill": DistillConfig, "run": RunConfig}


@dataclass(frozen=True)
class Entry:
    """One line of the tables: how a student is trained.

    >>> Entry({"distill": {"method": "ot", "topk": 8}}).tuned, Entry({"distill": {"method": "ot", "weight": 0.6}}).tuned
    (True, False)

    Attributes:
        settings: of its students, over those of the data set and the regime.
        teacher: whose knowledge is distilled.
        only_sets: the data sets on which it is run; empty means all.
    """

    settings: Settings = field(default_factory=dict)
    teacher: TeacherKind = "privileged"
    only_sets: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """The method, as in ``--method``."""
        return str(self.settings.get("distill", {}).get("method", "ot"))

    @property
    def tuned(self) -> bool:
        """Whether its weight is chosen on validation splits: if it has one and none is given."""
        given = {"weight", "balance"} & set(self.settings.get("distill", {}))
        return self.method != "none" and not given


@dataclass(frozen=True)
class Regime:
    """What students and teachers are given, and what takes part.

    >>> regime = Regime({"data": {"labels": 0.1}}, sets={"pen": {"data": {"labels": 0.2}}})
    >>> run_config(*regime.on("pen")).data.labels
    0.2

    Attributes:
        settings: of students and teachers.
        teacher: further settings of the teachers.
        sets: further settings on one data set.
        only_sets: the data sets that take part; empty means all.
        only_entries: the entries that take part, beside the controls; empty means all.
    """

    settings: Settings = field(default_factory=dict)
    teacher: Settings = field(default_factory=dict)
    sets: Mapping[str, Settings] = field(default_factory=dict)
    only_sets: tuple[str, ...] = ()
    only_entries: tuple[str, ...] = ()

    def on(self, data: str) -> tuple[Settings, Settings]:
        """The settings on a data set; later ones win."""
        return self.settings, self.sets.get(data, {})


@dataclass(frozen=True)
class Grid:
    """Everything that is compared.

    >>> grid = Grid({"digits": {}}, {"all labels": Regime()}, {"kd": Entry({"distill": {"method": "kd"}})})
    >>> list(grid.entries)
    ['kd']

    Attributes:
        sets: the settings of each data set.
        regimes: by name.
        entries: by name.
        seeds: the number of seeds of each data set that has its own number.
    """

    sets: Mapping[str, Settings]
    regimes: dict[str, Regime]
    entries: dict[str, Entry]
    seeds: Mapping[str, int] = field(default_factory=dict)


def run_config(*settings: Settings) -> StudentRunConfig:
    """The config of a student; later settings win. Raises ``ValueError`` for a value out of range.

    >>> run_config({"optim": {"epochs": 3}}, {"optim": {"epochs": 5}}).optim.epochs
    5
    """
    merged: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for given in settings:
        for section, values in given.items():
            merged[section] |= values
    return settings_from(StudentRunConfig, merged)


def controls() -> dict[str, Entry]:
    """The entries that methods are measured against.

    >>> controls()["self-training"].teacher
    'self'
    """
    return {
        NONE: Entry({"distill": {"method": "none"}}),
        ALL_LABELS: Entry({"distill": {"method": "none"}, "data": {"labels": 1.0, "label_noise": 0.0}}),
        SELF_TRAINING: Entry({"distill": {"method": "kd"}}, teacher="self"),
        PREVALENT_TEACHER: Entry({"distill": {"method": "kd"}}, teacher="prevalent"),
    }
