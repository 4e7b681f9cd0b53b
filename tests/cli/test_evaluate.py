from pathlib import Path

import pytest

from pkdot.cli import distill, evaluate
from pkdot.config import ModelConfig
from pkdot.data.batch import Schema
from pkdot.students import STUDENTS
from pkdot.training.model_file import load_model, save_model
from tests.support import metrics_of, write_vectors


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    data = write_vectors(folder / "data")
    flags = "--epochs 2 --model.width 8 --optim.batch-size 16"
    assert distill.main(["--data", str(data), "--out", str(folder / "runs"), *flags.split()]) == 0
    return folder / "runs"


@pytest.mark.parametrize("kind", ["teacher", "ot"])
def test_evaluating_a_run_again_repeats_its_result(
    runs: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = runs.glob(f"*-{kind}-*")
    assert evaluate.main([str(run), "--predictions", str(tmp_path / "again.csv"), "--batch-size", "7"]) == 0
    assert f"{metrics_of(run)['metrics']['accuracy']:.4f}" in capsys.readouterr().out
    again, first = (path.read_text().splitlines() for path in (tmp_path / "again.csv", run / "predictions.csv"))
    assert [line.rsplit(",", 2)[0] for line in again] == [line.rsplit(",", 2)[0] for line in first]


def test_a_student_is_evaluated_on_data_without_the_privileged_modality(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_vectors(tmp_path / "new", seed=5)
    manifest = (data / "dataset.toml").read_text()
    manifest = manifest.replace('privileged = ["strong"]', "privileged = []").partition("[modalities.strong]")[0]
    (data / "dataset.toml").write_text(manifest)
    (data / "strong.npy").unlink()
    (student,) = runs.glob("*-ot-*")
    assert evaluate.main([str(student), "--data", str(data)]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_a_student_with_an_untrained_t_net_is_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, flags = runs.parent / "data", "--epochs 1 --model.width 8 --optim.batch-size 16 --student hallucinating"
    assert distill.main(["--data", str(data), "--out", str(tmp_path), *flags.split()]) == 0
    (run,) = tmp_path.glob("*-ot-*")
    tensors, metadata = load_model(run / "best.safetensors")
    student = STUDENTS["hallucinating"](Schema.from_dict(metadata["schema"]), ModelConfig(width=8))
    untrained = {name: value * 0 if name.endswith(".trained") else value for name, value in tensors.items()}
    student.load_state_dict(untrained)
    save_model(run / "best.safetensors", student, metadata)
    capsys.readouterr()
    assert evaluate.main([str(run)]) == 2
    assert "never trained" in capsys.readouterr().err
