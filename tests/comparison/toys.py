"""Scores without training, and the tables of their report."""

import re

import numpy as np

from pkdot.comparison.report.analysis import analyse
from pkdot.comparison.report.document import Document, document
from pkdot.comparison.report.markdown import markdown
from pkdot.comparison.report.scores import CONTROLS, Score

EFFECTS = {"ot": 0.02, "kd": 0.05, "hint": -0.04, "sp": 0.0005}
"""What some methods gain: two help, one harms, one does not matter."""


def score(entry: str, value: float, **given: object) -> Score:
    """One run, with settings in place of the usual ones. Each seed has a split of its own."""
    usual: dict[str, object] = {"data": "toy", "regime": "few", "fold": 0, "seed": 0, "metric": "accuracy"}
    usual |= {"split": f"split {given.get('seed', 0)}", "train_samples": 300, "test_samples": 100}
    return Score(entry=entry, value=value, **{**usual, **given})  # type: ignore[arg-type]


def comparison(
    effects: dict[str, float],
    *,
    data: tuple[str, ...] = ("toy",),
    regimes: tuple[str, ...] = ("few",),
    seeds: int = 8,
    folds: int = 1,
    lead: float = 0.1,
    noise: float = 0.004,
) -> list[Score]:
    """All controls, and methods that are better than none by ``effects``. Seeds share the splits of several folds."""
    rng = np.random.default_rng(0)
    gains = {**dict(zip(CONTROLS, (lead, 0.0, 0.8 * lead, 0.002, 0.003), strict=True)), **effects}
    found = []
    for name in data:
        for regime in regimes:
            for fold in range(folds):
                for seed in range(seeds):
                    base = 0.6 + rng.normal(0, 0.02)
                    found += [
                        score(
                            entry,
                            base + gain + (entry != "none") * rng.normal(0, noise),
                            data=name,
                            regime=regime,
                            fold=fold,
                            seed=seed,
                            split=f"split {seed if folds == 1 else fold}",
                        )
                        for entry, gain in gains.items()
                    ]
    return found


def reported(
    scores: list[Score],
    *,
    title: str = "Methods",
    command: str = "pkdot-compare --seeds 8",
    notes: tuple[str, ...] = (),
) -> Document:
    return document(analyse(scores), title=title, command=command, notes=notes)


def told(scores: list[Score], *, notes: tuple[str, ...] = ()) -> str:
    return markdown(reported(scores, notes=notes))


def tables(text: str) -> list[list[list[str]]]:
    """Cells of all tables of a Markdown text."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif found[-1]:
            found.append([])
    return [rows for rows in found if rows]


def row(text: str, entry: str) -> list[str]:
    """The entry's line in the first table of a block."""
    (table,) = [rows for rows in tables(text) if rows[0][:2] == ["entry", "runs"]][:1]
    (found,) = [cells for cells in table if cells[0] == entry]
    return found
