from pathlib import Path

import pytest

from pkdot.training.run_folder import RunResult
from pkdot.training.teacher import train_teacher
from tests.support import teacher_config, write_vectors


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vectors(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="session")
def teacher(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return train_teacher(teacher_config(vectors, tmp_path_factory.mktemp("teachers")))
