"""Pictures of what is distilled: structure matrices of teacher and student, and the plan between their clouds."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pkdot.config import StudentRunConfig
from pkdot.data.loader import Loader
from pkdot.losses.ot import OTDistillLoss
from pkdot.structure import anchor_clouds, cosine_structure
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.logbook import LogBook
from pkdot.training.network import Network
from pkdot.training.objectives import Hallucinates
from pkdot.training.run_folder import RunFolder
from pkdot.transport.divergence import transport_plan

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

SAMPLES, PANEL = 96, 288
"""Most samples in a picture, and the side of a panel (pixels)."""
_COLD, _MIDDLE, _WARM = (np.array(colour, dtype=float) for colour in ((33, 60, 120), (245, 243, 238), (158, 35, 40)))


class StructurePictures:
    """Draws validation samples, sorted by target, as the teacher and the student arrange them.

    Made before training, so that it knows the student's structure before distillation.
    """

    def __init__(self, teacher: FrozenTeacher, network: Network, validation: Loader, config: StudentRunConfig) -> None:
        self._network, self._config, self._validation = network, config, validation
        known = teacher.predict(validation)
        order = known.target.reshape(len(known.ids), -1)[:, 0].argsort(stable=True)
        self._rows = order[np.linspace(0, len(order) - 1, min(SAMPLES, len(order))).round().astype(int)]
        self._teacher = known.embedding[self._rows]
        # An untrained T-Net refuses to answer, so a hallucinating student has no picture from before.
        self._before = None if isinstance(network.model, Hallucinates) else self._student()

    def _student(self) -> Tensor:
        return self._network.predict(self._validation).embedding[self._rows]

    def on_epoch(self, epoch: int, step: int, log: LogBook) -> None:
        """Every ``picture_epochs`` epochs, the matrices and the plan go to TensorBoard."""
        every = self._config.run.picture_epochs
        if not every or epoch % every:
            return
        student = self._student()
        log.image("structure/teacher, student", side_by_side(self._panels(student)), step)
        log.image("transport/plan (rows: student, columns: teacher)", heat(self._plan(student)), step)

    def on_end(self, folder: RunFolder) -> None:
        """``structure.png``: the teacher, the student before and the student after."""
        Image.fromarray(side_by_side(self._panels(self._student(), self._before))).save(folder.picture)

    def _panels(self, student: Tensor, before: Tensor | None = None) -> dict[str, Pixels]:
        embeddings = {"teacher": self._teacher, "student before": before, "student": student}
        return {
            name: heat(cosine_structure(embedding).numpy(), -1.0, 1.0)
            for name, embedding in embeddings.items()
            if embedding is not None
        }

    def _plan(self, student: Tensor) -> np.ndarray[Any, Any]:
        """Log10 of the plan's share of the uniform plan, cut at a thousandth and at the identity's."""
        loss, rows = OTDistillLoss(), len(self._rows)
        topk = loss.settings.topk if self._config.distill.topk == "auto" else self._config.distill.topk
        select = loss.settings.select if self._config.distill.select == "auto" else self._config.distill.select
        k = max(1, round(topk * rows)) if isinstance(topk, float) else topk
        x, y = anchor_clouds(student, self._teacher, k, select=select)
        plan = transport_plan(x, y, blur=self._config.distill.blur)
        return np.clip(np.log10(plan.numpy() * rows**2 + 1e-12), -3.0, np.log10(rows))


def heat(values: np.ndarray[Any, Any], low: float | None = None, high: float | None = None) -> Pixels:
    """A matrix as a square of ``PANEL`` pixels: blue is low, white the middle, red high."""
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    share = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0)[..., None]
    colours = np.where(
        share < 0.5, _COLD + (_MIDDLE - _COLD) * 2 * share, _MIDDLE + (_WARM - _MIDDLE) * (2 * share - 1)
    )
    image = Image.fromarray(colours.round().astype(np.uint8))
    return np.asarray(image.resize((PANEL, PANEL), Image.Resampling.NEAREST))


def side_by_side(panels: dict[str, Pixels]) -> Pixels:
    """Panels in a row, each under its name."""
    margin, title = 12, 26
    width = margin + sum(panel.shape[1] + margin for panel in panels.values())
    canvas = Image.new("RGB", (width, PANEL + title + margin), "white")
    draw, left = ImageDraw.Draw(canvas), margin
    for name, panel in panels.items():
        draw.text((left, 6), name, fill=(40, 40, 40), font=ImageFont.load_default(14))
        canvas.paste(Image.fromarray(panel), (left, title))
        left += panel.shape[1] + margin
    return np.asarray(canvas)
