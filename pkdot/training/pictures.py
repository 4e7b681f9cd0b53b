"""Pictures of what is distilled: structure matrices of teacher and student, and the transport plan between clouds."""

import numpy as np
from PIL import Image
from torch import Tensor

from pkdot.config import StudentRunConfig
from pkdot.data.loader import Loader
from pkdot.losses.ot import OTDistillLoss
from pkdot.structure import anchor_clouds, cosine_structure
from pkdot.tasks import Task
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.logbook import LogBook
from pkdot.training.network import Network
from pkdot.training.objectives import Hallucinates
from pkdot.training.panels import Band, Matrix, bands_of, draw
from pkdot.training.run_folder import RunFolder
from pkdot.transport.divergence import transport_plan

SAMPLES, RANGES = 96, 4
"""Largest number of samples in a picture, and the number of ranges that regression targets are divided into."""
SCALE = "cosine of centred embeddings"


class StructurePictures:
    """Draws validation samples, sorted by target, as the teacher and the student arrange them.

    It is made before training, so that it has the untrained student's structure too. All embeddings of a network point
    in nearly one direction before training, and every cosine would be near 1: each panel shows the cosines around the
    mean embedding.

    Args:
        teacher: what the student learns from.
        network: the student.
        task: what sorts the samples.
        validation: where the samples come from.
        config: of the student's run.
    """

    def __init__(
        self, teacher: FrozenTeacher, network: Network, task: Task, validation: Loader, config: StudentRunConfig
    ) -> None:
        self._network, self._config, self._validation = network, config, validation
        known = teacher.predict(validation)
        targets = known.target.reshape(len(known.ids), -1)[:, 0]
        (labelled,) = known.labelled.nonzero(as_tuple=True)
        order = labelled[targets[labelled].argsort(stable=True)]
        self._rows = order[np.linspace(0, len(order) - 1, min(SAMPLES, len(order))).round().astype(int)]
        self._bands = target_bands(task, targets[self._rows].tolist())
        self._caption = (
            f"{len(self._rows)} validation samples, sorted by {task.targets[0]}. Red: alike, blue: opposite, "
            "both as seen from the network's mean embedding."
        )
        self._teacher = known.embedding[self._rows]
        # An untrained T-Net refuses to answer, so a hallucinating student has no picture from before.
        self._before = None if isinstance(network.model, Hallucinates) else self._student()

    def _student(self) -> Tensor:
        return self._network.predict(self._validation).embedding[self._rows]

    def on_epoch(self, epoch: int, step: int, log: LogBook) -> None:
        """Every ``picture_epochs`` epochs, the structures and the transport plan go to TensorBoard."""
        every = self._config.run.picture_epochs
        if not every or epoch % every:
            return
        student = self._student()
        structures = {"teacher": centred_structure(self._teacher), "student": centred_structure(student)}
        log.image("structure", self._draw(structures), step)
        if len(self._rows) < 2:
            return  # one sample has no anchors
        plan = {"transport plan": self._plan(student)}
        high = float(np.log10(len(self._rows)))
        caption = "rows: student, columns: teacher"
        scale = "log10 of plan / uniform plan"
        log.image("transport", draw(plan, self._bands, low=-high, high=high, scale=scale, caption=caption), step)

    def on_end(self, folder: RunFolder) -> None:
        """``structure.png``: the teacher, the untrained student and the distilled one."""
        structures = {"teacher": centred_structure(self._teacher)}
        if self._before is not None:
            structures["student, untrained"] = centred_structure(self._before)
        structures[f"student, distilled by {self._config.distill.method}"] = centred_structure(self._student())
        Image.fromarray(self._draw(structures)).save(folder.picture)

    def _draw(self, structures: dict[str, Matrix]) -> Matrix:
        return draw(structures, self._bands, low=-1.0, high=1.0, scale=SCALE, caption=self._caption)

    def _plan(self, student: Tensor) -> Matrix:
        """``log10(plan / uniform plan)``: 0 for the uniform plan, at most ``log10(B)``, which the identity reaches."""
        loss, rows = OTDistillLoss(), len(self._rows)
        topk = loss.settings.topk if self._config.distill.topk == "auto" else self._config.distill.topk
        select = loss.settings.select if self._config.distill.select == "auto" else self._config.distill.select
        k = max(1, round(topk * rows)) if isinstance(topk, float) else topk
        x, y = anchor_clouds(student, self._teacher, k, select=select)
        plan = transport_plan(x, y, blur=self._config.distill.blur)
        return np.log10(plan.numpy() * rows**2 + 1e-12)


def centred_structure(embedding: Tensor) -> Matrix:
    """The cosine similarities of ``(B, d)`` embeddings around their mean, ``(B, B)``.

    >>> import torch
    >>> centred_structure(torch.tensor([[10.0, 1.0], [10.0, -1.0]])).round(2).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    return cosine_structure(embedding - embedding.mean(0)).numpy()


def target_bands(task: Task, targets: list[float]) -> list[Band]:
    """The bands of samples that are sorted by target: one for each class, or four ranges of values of equal size.

    >>> target_bands(Task("classification", ("pain",), ("no", "yes")), [0.0, 0.0, 1.0])
    [Band(name='no', rows=2), Band(name='yes', rows=1)]
    """
    if task.classes:
        return bands_of([task.classes[int(target)] for target in targets])
    parts = [part for part in np.array_split(np.array(targets), RANGES) if len(part)]
    return [Band(f"{part[0]:.2g} to {part[-1]:.2g}", len(part)) for part in parts]
