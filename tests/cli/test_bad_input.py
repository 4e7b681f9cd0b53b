"""A user's mistake is one line that names the place, exit code 2, and earlier runs as they were."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pkdot.cli import distill, evaluate, train_teacher
from pkdot.data.synthetic.biovid import SyntheticBioVidSpec, write_synthetic_biovid
from tests.support import write_vectors

FLAGS = ["--epochs", "1", "--model.width", "8", "--optim.batch-size", "16"]
Told = Callable[..., str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and one finished teacher and student run."""
    folder = tmp_path_factory.mktemp("world")
    data = write_vectors(folder / "data")
    assert distill.main(["--data", str(data), "--out", str(folder / "runs"), *FLAGS]) == 0
    return folder


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def told(world: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Runs a command that must fail, checks how it does so, and returns its one line."""
    before = snapshot(world / "runs")
    capsys.readouterr()

    def run(main: Callable[[list[str]], int], *words: str | Path) -> str:
        assert main([str(word) for word in words]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        errors = [line for line in captured.err.splitlines() if "error:" in line]
        assert len(errors) == 1
        assert captured.err.splitlines()[-1] == errors[0]
        assert "Traceback" not in captured.err
        assert snapshot(world / "runs") == before
        return errors[0]

    return run


def copy(world: Path, to: Path) -> Path:
    return Path(shutil.copytree(world / "data", to / "data"))


def test_a_missing_data_set(world: Path, told: Told) -> None:
    assert "nowhere" in told(distill.main, "--data", "nowhere", "--out", world / "runs", *FLAGS)


def test_a_missing_file(world: Path, told: Told, tmp_path: Path) -> None:
    data = copy(world, tmp_path)
    (data / "strong.npy").unlink()
    assert "strong.npy" in told(train_teacher.main, "--data", data, "--out", world / "runs", *FLAGS)


def test_a_wrong_column(world: Path, told: Told, tmp_path: Path) -> None:
    data = copy(world, tmp_path)
    csv = data / "samples.csv"
    csv.write_text(csv.read_text().replace("id,subject,answer", "id,subject,reply"))
    line = told(train_teacher.main, "--data", data, "--out", world / "runs", *FLAGS)
    assert "samples.csv" in line
    assert "answer" in line


def test_a_label_out_of_range(world: Path, told: Told, tmp_path: Path) -> None:
    data = copy(world, tmp_path)
    csv = data / "samples.csv"
    lines = csv.read_text().splitlines()
    lines[5] = lines[5].rpartition(",")[0] + ",unheard-of"
    csv.write_text("\n".join(lines) + "\n")
    line = told(train_teacher.main, "--data", data, "--out", world / "runs", *FLAGS)
    assert "samples.csv" in line
    assert "line 6" in line
    assert "unheard-of" in line


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_signal_that_is_not_finite(world: Path, told: Told, tmp_path: Path, value: float) -> None:
    data = copy(world, tmp_path)
    values = np.load(data / "strong.npy")
    values[:, 1] = value
    np.save(data / "strong.npy", values)
    line = told(train_teacher.main, "--data", data, "--out", world / "runs", *FLAGS)
    assert "strong" in line


def test_a_truncated_image(world: Path, told: Told, tmp_path: Path) -> None:
    root = write_synthetic_biovid(tmp_path / "pain", SyntheticBioVidSpec(subjects=4, per_class=1, frames=4, size=16))
    images = sorted(root.rglob("*.jpg"))
    for image in images:
        image.write_bytes(image.read_bytes()[:200])
    flags = [*FLAGS, "--data.frames", "4", "--data.image-size", "16"]
    line = told(train_teacher.main, "--data", f"biovid:{root}", "--out", world / "runs", *flags)
    assert ".jpg" in line


def test_an_empty_split(world: Path, told: Told, tmp_path: Path) -> None:
    data = copy(world, tmp_path)
    lines = (data / "samples.csv").read_text().splitlines()
    (data / "samples.csv").write_text("\n".join(lines[:1] + [line for line in lines if ",p00," in line]) + "\n")
    for name in ("weak", "strong"):
        np.save(data / f"{name}.npy", np.load(data / f"{name}.npy")[:6])
    assert "subject" in told(train_teacher.main, "--data", data, "--out", world / "runs", *FLAGS)


def test_an_unknown_flag(world: Path, told: Told) -> None:
    assert "--epohcs" in told(distill.main, "--data", world / "data", "--epohcs", "3")


def test_a_teacher_for_another_data_set(world: Path, told: Told, tmp_path: Path) -> None:
    other = write_vectors(tmp_path / "other", subjects=9, name="other")
    (teacher,) = (world / "runs").glob("*-teacher-*")
    line = told(distill.main, "--data", other, "--teacher", teacher, "--out", world / "runs", *FLAGS)
    assert str(teacher) in line
    assert "another data set or split" in line


def test_a_corrupt_checkpoint(world: Path, told: Told, tmp_path: Path) -> None:
    (teacher,) = (world / "runs").glob("*-teacher-*")
    broken = Path(shutil.copytree(teacher, tmp_path / "broken"))
    (broken / "best.safetensors").write_bytes((teacher / "best.safetensors").read_bytes()[:100])
    line = told(distill.main, "--data", world / "data", "--teacher", broken, "--out", world / "runs", *FLAGS)
    assert "best.safetensors" in line
    assert "best.safetensors" in told(evaluate.main, broken)


def test_a_corrupt_state_to_resume_from(world: Path, told: Told, tmp_path: Path) -> None:
    (teacher,) = (world / "runs").glob("*-teacher-*")
    broken = Path(shutil.copytree(teacher, tmp_path / "broken"))
    (broken / "result.json").unlink()
    (broken / "last.pt").write_bytes(b"nonsense")
    assert "last.pt" in told(train_teacher.main, "--resume", broken)


def test_a_run_folder_that_is_none(told: Told, tmp_path: Path) -> None:
    assert "config.toml" in told(distill.main, "--resume", tmp_path)
    assert "config.toml" in told(evaluate.main, tmp_path)


def test_a_teacher_run_is_not_resumed_as_a_student(world: Path, told: Told) -> None:
    (teacher,) = (world / "runs").glob("*-teacher-*")
    assert "pkdot-train-teacher" in told(distill.main, "--resume", teacher)


def test_a_device_that_is_not_there(world: Path, told: Told) -> None:
    assert "cuda:77" in told(distill.main, "--data", world / "data", "--run.device", "cuda:77")
