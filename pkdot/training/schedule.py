"""How long a run trains, and the learning rate of each step."""

import math
from dataclasses import replace

from pkdot.config import OptimConfig

STEPS = 280
"""Number of steps that ``epochs = "auto"`` aims at; benchmarks/results/epochs.md shows how it was chosen."""
LEAST_EPOCHS, MOST_EPOCHS = 20, 200
"""Limits of ``epochs = "auto"``."""
LEAST_PATIENCE, PATIENCE_SHARE = 8, 0.4
"""``patience = "auto"`` is ``PATIENCE_SHARE`` of the epochs, but at least ``LEAST_PATIENCE``."""


def resolved(optim: OptimConfig, samples: int) -> OptimConfig:
    """The settings with numbers in place of "auto".

    A run records the numbers, so that it can be repeated with a later version, where "auto" may mean other numbers.

    Args:
        optim: the settings; numbers stay as they are.
        samples: of the training split, labelled or not.

    >>> found = resolved(OptimConfig(batch_size=64), samples=448)
    >>> found.epochs, found.patience
    (40, 16)
    """
    steps = max(1, math.ceil(samples / optim.batch_size))
    enough = min(max(math.ceil(STEPS / steps), LEAST_EPOCHS), MOST_EPOCHS)
    epochs = enough if optim.epochs == "auto" else optim.epochs
    patience = max(LEAST_PATIENCE, math.ceil(PATIENCE_SHARE * epochs)) if optim.patience == "auto" else optim.patience
    return replace(optim, epochs=epochs, patience=patience)


def length(optim: OptimConfig) -> tuple[int, int]:
    """Epochs and patience of resolved settings. Raises ``ValueError`` where one of them is "auto".

    >>> length(OptimConfig(epochs=20, patience=8))
    (20, 8)
    """
    if optim.epochs == "auto" or optim.patience == "auto":
        raise ValueError(f"epochs {optim.epochs!r} and patience {optim.patience!r}: expected numbers.")
    return optim.epochs, optim.patience


def learning_rates(optim: OptimConfig, steps: int) -> list[float]:
    """The learning rate of every step of a run with ``steps`` steps in an epoch.

    >>> [round(rate, 2) for rate in learning_rates(OptimConfig(epochs=2, patience=1, lr=1.0, warmup=0.25), steps=4)]
    [0.5, 1.0, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    total = steps * length(optim)[0]
    return [learning_rate(step, total, optim) for step in range(total)]


def learning_rate(step: int, total: int, optim: OptimConfig) -> float:
    """The learning rate of a step: a linear warm-up to ``optim.lr``, then half a cosine down to 0 at ``total`` steps.

    >>> round(learning_rate(50, total=100, optim=OptimConfig(lr=1.0, warmup=0.0)), 3)
    0.508
    """
    warmup = max(1, round(optim.warmup * total))
    if step < warmup:
        return optim.lr * (step + 1) / warmup
    return optim.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
