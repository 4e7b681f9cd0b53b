import subprocess
import sys
from importlib.metadata import version

import pytest

import pkdot

ROOMS = ["comparison", "config", "data", "encoders", "losses", "metrics"]
ROOMS += ["structure", "students", "tasks", "teachers", "training", "transport"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_an_attribute_of_the_package(room: str) -> None:
    assert getattr(pkdot, room).__name__ == f"pkdot.{room}"
    assert room in dir(pkdot)


def test_the_version_is_that_of_the_installation() -> None:
    assert pkdot.__version__ == version("pkdot")
    assert "__version__" in dir(pkdot)


def test_nothing_is_imported_before_it_is_used() -> None:
    script = """
import sys, pkdot
dir(pkdot), pkdot.__version__, pkdot.config.DataConfig
assert "torch" not in sys.modules
pkdot.losses.kd_loss, pkdot.OTDistillLoss
assert "torch" in sys.modules
assert "pkdot.training" not in sys.modules
from pkdot import training
assert training is pkdot.training
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
