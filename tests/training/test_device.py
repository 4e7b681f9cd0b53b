from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pkdot.cli import distill as distill_command
from pkdot.config import EvaluateConfig, StudentRunConfig, TeacherRunConfig
from pkdot.data.study import open_study
from pkdot.teachers import TEACHERS
from pkdot.training import device
from pkdot.training.device import check_one_process, find_device, repeatable
from pkdot.training.network import Network
from pkdot.training.reevaluation import evaluate
from pkdot.training.student import distill, train_student
from pkdot.training.teacher import train_teacher
from tests.support import student_config, teacher_config, write_vectors


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vectors(tmp_path_factory.mktemp("device") / "data")


def settings() -> tuple[bool, bool, int]:
    """What a run sets in torch."""
    enabled = torch.are_deterministic_algorithms_enabled()
    return enabled, torch.is_deterministic_algorithms_warn_only_enabled(), torch.get_num_threads()


@pytest.fixture(params=[(False, False, 1), (True, False, 1)])
def before(request: pytest.FixtureRequest) -> Iterator[tuple[bool, bool, int]]:
    """The settings of a process that has its own."""
    enabled, warn_only, threads = request.param
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    torch.set_num_threads(threads)
    yield request.param
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("before", [(True, False, 1)], indirect=True)
def test_a_trainer_leaves_torch_as_it_was(
    before: tuple[bool, bool, int], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    predict = Network.predict
    monkeypatch.setattr(Network, "predict", lambda *a: (seen.append(settings()), predict(*a))[1])
    config = student_config(data, tmp_path)
    config.run.threads = 2
    result = distill(config)
    assert settings() == before
    assert result.teacher is not None
    config.teacher = result.teacher.folder.path
    train_student(config, open_study(config.data, config.optim, 0))
    assert settings() == before
    assert set(seen) == {(True, True, 2)}
    evaluate(EvaluateConfig(result.student.folder.path))
    assert settings() == before
    assert seen[-1] == (True, True, 1)  # an evaluation has no number of its own


def test_torch_is_as_it_was_after_an_error_too(
    before: tuple[bool, bool, int], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> nn.Module:
        raise KeyboardInterrupt

    monkeypatch.setitem(TEACHERS, "concat", refuse)  # type: ignore[arg-type]
    config = teacher_config(data, tmp_path, threads=2)
    config.model.teacher = "concat"
    with pytest.raises(KeyboardInterrupt):
        train_teacher(config)
    assert settings() == before


@pytest.mark.parametrize("name", ["meta", "cuda:99", "cpu:7", "", "mps:3", "gpu", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^device '{name}'.*; expected "):
        find_device(name)


def test_the_cpu_is_there() -> None:
    assert find_device("cpu").type == find_device("cpu:0").type == "cpu"
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_more_threads_than_the_machine_can_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.os, "cpu_count", lambda: 2)  # type: ignore[attr-defined]
    with repeatable(32):
        assert torch.get_num_threads() == 32
    with pytest.raises(ValueError, match=r"threads \(at most 16 for each of 2 cores\) 33 is outside"), repeatable(33):
        pass


@pytest.mark.parametrize(
    "environ",
    [
        {"WORLD_SIZE": "2"},
        {"OMPI_COMM_WORLD_SIZE": "4"},
        {"PMI_SIZE": "3"},
        {"SLURM_STEP_NUM_TASKS": "16"},
        {"WORLD_SIZE": "", "PMI_SIZE": "2"},
    ],
)
def test_several_processes_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"started \d+ processes, .*; expected one process"):
        check_one_process(environ)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WORLD_SIZE": "1", "RANK": "0"},
        {"WORLD_SIZE": "1", "SLURM_STEP_NUM_TASKS": "8"},  # on purpose: a run of its own in each task
        {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"},  # a batch script is one process, whatever it asked for
        {"WORLD_SIZE": "many"},
    ],
)
def test_one_process_is_enough(environ: dict[str, str]) -> None:
    check_one_process(environ)


@pytest.mark.parametrize("trainer", [train_teacher, distill, train_student])
def test_every_trainer_refuses_several_processes_before_it_writes(
    trainer: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = (teacher_config if trainer is train_teacher else student_config)(data, tmp_path / "runs")
    more = [open_study(config.data, config.optim, 0)] if trainer is train_student else []
    with pytest.raises(ValueError, match="torchrun started 2 processes"):
        trainer(config, *more)
    assert not (tmp_path / "runs").exists()


def test_the_commands_refuse_several_processes_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert distill_command.main(["--out", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("function", "kind"), [(distill, StudentRunConfig), (train_teacher, TeacherRunConfig), (evaluate, EvaluateConfig)]
)
def test_a_config_of_another_kind_is_refused(function: Any, kind: type) -> None:
    with pytest.raises(ValueError, match=f"config is 'x'; expected {kind.__name__}"):
        function("x")
