import os
from pathlib import Path

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

hypothesis.settings.register_profile("pkdot", deadline=None, derandomize=True, max_examples=25, database=None)
hypothesis.settings.load_profile("pkdot")


@pytest.fixture(scope="session", autouse=True)
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Synthetic sets that tests make do not land in the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(Path(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
