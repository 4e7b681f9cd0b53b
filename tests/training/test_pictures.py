"""The pictures show how the teacher and the student arrange the validation samples, sorted by class."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pkdot.data.study import open_study
from pkdot.tasks import Task
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.network import Network
from pkdot.training.panels import Band, bands_of, draw
from pkdot.training.pictures import StructurePictures, target_bands
from pkdot.training.run_folder import RunFolder, RunResult
from tests.support import student_config
from tests.training.toys import Model

CPU = torch.device("cpu")


class Log:
    """Keeps the pictures that it is given."""

    def __init__(self) -> None:
        self.images: dict[tuple[str, int], np.ndarray] = {}

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        self.images[name, step] = pixels


def cosines(embedding: Tensor) -> np.ndarray:
    """Around the mean, entry by entry."""
    centred = (embedding - embedding.mean(0)).numpy()
    return np.array([[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in centred] for x in centred])


@torch.no_grad()
def test_pictures_have_the_structures_of_each_model_sorted_by_class_on_one_scale(
    vectors: Path, teacher: RunResult, tmp_path: Path
) -> None:
    config = student_config(vectors, tmp_path, teacher=teacher.folder.path, method="ot", topk=3)
    config = replace(config, run=replace(config.run, picture_epochs=2))
    study, frozen = open_study(config.data, config.optim, 0), FrozenTeacher.load(teacher.folder.path, CPU)
    student = Model("weak")
    network = Network(student, ("weak",), CPU)
    pictures = StructurePictures(frozen, network, study.schema.task, study.validation(), config)
    (batch,) = study.validation().epoch(0)
    order = torch.tensor(sorted(range(len(batch.ids)), key=lambda row: (int(batch.target[row]), row)))
    before = cosines(student(batch.modalities).embedding[order])
    known = cosines(frozen(batch).embedding[order])
    student.encoders["weak"].weight.add_(torch.randn(student.encoders["weak"].weight.shape))
    after = cosines(student(batch.modalities).embedding[order])
    assert np.abs(after - before).max() > 0.1

    pictures.on_end(RunFolder(tmp_path))
    bands = bands_of([("low", "high")[int(target)] for target in batch.target[order]])
    caption = (
        f"{len(order)} validation samples, sorted by answer. Red: alike, blue: opposite, "
        "both as seen from the network's mean embedding."
    )
    panels = {"teacher": known, "student, untrained": before, "student, distilled by ot": after}
    expected = draw(panels, bands, low=-1, high=1, scale="cosine of centred embeddings", caption=caption)
    drawn = np.asarray(Image.open(RunFolder(tmp_path).picture)).astype(int)
    assert drawn.shape == expected.shape
    assert np.abs(drawn - expected).max() <= 1

    log = Log()
    for epoch in range(1, 5):
        pictures.on_epoch(epoch, 10 * epoch, log)  # type: ignore[arg-type]
    assert set(log.images) == {(tag, step) for tag in ("structure", "transport") for step in (20, 40)}
    panels = {"teacher": known, "student": after}
    expected = draw(panels, bands, low=-1, high=1, scale="cosine of centred embeddings", caption=caption)
    assert np.abs(log.images["structure", 20].astype(int) - expected).max() <= 1


@torch.no_grad()
def test_unlabelled_samples_are_left_out_and_one_sample_has_no_plan(
    vectors: Path, teacher: RunResult, tmp_path: Path
) -> None:
    config = student_config(vectors, tmp_path, method="ot")
    config = replace(config, run=replace(config.run, picture_epochs=1))
    study, frozen = open_study(config.data, config.optim, 0), FrozenTeacher.load(teacher.folder.path, CPU)
    validation = study.validation()
    validation.labelled = np.arange(len(study.labelled)) == study.splits.val[1]
    pictures = StructurePictures(frozen, Network(Model("weak"), ("weak",), CPU), study.schema.task, validation, config)
    log = Log()
    pictures.on_epoch(1, 5, log)  # type: ignore[arg-type]
    assert {tag for tag, _ in log.images} == {"structure"}


def test_a_regression_is_marked_by_ranges_of_its_values() -> None:
    task = Task("regression", ("valence",))
    bands = target_bands(task, [-0.9, -0.5, -0.25, 0.0, 0.125, 0.5, 0.75, 0.8])
    assert bands == [
        Band("-0.9 to -0.5", 2),
        Band("-0.25 to 0", 2),
        Band("0.12 to 0.5", 2),
        Band("0.75 to 0.8", 2),
    ]
    assert target_bands(task, [0.5]) == [Band("0.5 to 0.5", 1)]
