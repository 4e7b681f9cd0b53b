"""The pictures show the validation samples' similarities, sorted by class, in the teacher's space and the student's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pkdot.data.study import open_study
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.network import Network
from pkdot.training.pictures import StructurePictures, heat, side_by_side
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


def similarities(embedding: Tensor) -> np.ndarray:
    unit = embedding / embedding.norm(dim=1, keepdim=True)
    return (unit @ unit.T).numpy()


@torch.no_grad()
def test_pictures_have_the_similarities_of_each_model_sorted_by_class(
    vectors: Path, teacher: RunResult, tmp_path: Path
) -> None:
    config = student_config(vectors, tmp_path, teacher=teacher.folder.path, method="ot", topk=3)
    config = replace(config, run=replace(config.run, picture_epochs=2))
    study, frozen = open_study(config.data, config.optim, 0), FrozenTeacher.load(teacher.folder.path, CPU)
    student = Model("weak")
    pictures = StructurePictures(frozen, Network(student, ("weak",), CPU), study.validation(), config)
    (batch,) = study.validation().epoch(0)
    order = torch.tensor(sorted(range(len(batch.ids)), key=lambda row: (int(batch.target[row]), row)))
    before = similarities(student(batch.modalities).embedding[order])
    known = similarities(frozen(batch).embedding[order])
    student.encoders["weak"].weight.add_(1.0)
    after = similarities(student(batch.modalities).embedding[order])
    assert np.abs(after - before).max() > 0.1

    pictures.on_end(RunFolder(tmp_path))
    panels = {"teacher": known, "student before": before, "student": after}
    expected = side_by_side({name: heat(values, -1.0, 1.0) for name, values in panels.items()})
    drawn = np.asarray(Image.open(RunFolder(tmp_path).picture)).astype(int)
    assert drawn.shape == expected.shape
    assert np.abs(drawn - expected).max() <= 1

    log = Log()
    for epoch in range(1, 5):
        pictures.on_epoch(epoch, 10 * epoch, log)  # type: ignore[arg-type]
    assert {step for _, step in log.images} == {20, 40}
    panels.pop("student before")
    expected = side_by_side({name: heat(values, -1.0, 1.0) for name, values in panels.items()})
    shown = {name: pixels for (name, step), pixels in log.images.items() if step == 20}
    assert len(shown) == 2
    assert np.abs(shown["structure/teacher, student"].astype(int) - expected).max() <= 1


def test_panels_stand_beside_each_other_in_their_order_under_their_names() -> None:
    panels = {"cold": heat(np.full((2, 2), -1.0), -1.0, 1.0), "warm": heat(np.full((2, 2), 1.0), -1.0, 1.0)}
    canvas = side_by_side(panels)
    size = panels["cold"].shape[0]
    assert canvas.shape == (size + 38, 2 * size + 36, 3)
    for number, panel in enumerate(panels.values()):
        left = 12 + number * (size + 12)
        assert (canvas[26 : 26 + size, left : left + size] == panel).all()
        assert (canvas[:24, left : left + 60] < 128).any(), "a name"
    assert (canvas[26:, :12] == 255).all()
    assert (canvas[26 + size :] == 255).all()


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0)])
def test_a_matrix_is_painted_row_by_row(place: tuple[int, int]) -> None:
    values = np.zeros((2, 2))
    values[place] = 1.0
    pixels = heat(values)
    half = len(pixels) // 2
    assert pixels.shape == (2 * half, 2 * half, 3)
    red = pixels[..., 0].astype(int) > pixels[..., 2]
    rows, columns = np.nonzero(red)
    assert {(row // half, column // half) for row, column in zip(rows, columns, strict=True)} == {place}


def test_the_middle_is_almost_white_and_equal_values_are_no_error() -> None:
    assert heat(np.array([[0.0]]), -1.0, 1.0).min() > 200
    assert heat(np.full((3, 3), 5.0)).shape[2] == 3


@pytest.mark.parametrize(
    ("value", "colour"),
    [
        (-1.0, (33, 60, 120)),
        (-0.5, (139, 152, 179)),
        (0.0, (245, 243, 238)),
        (0.5, (202, 139, 139)),
        (1.0, (158, 35, 40)),
        (9.0, (158, 35, 40)),
    ],
)
def test_colours_lie_between_those_of_the_ends_and_the_middle(value: float, colour: tuple[int, int, int]) -> None:
    pixels = heat(np.array([[value]]), -1.0, 1.0).astype(int)
    assert np.abs(pixels - np.array(colour)).max() <= 1
