import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pkdot.comparison.execution import READ_AHEAD
from pkdot.config import DataConfig

TOML = """
name = "files"
task = "regression"
targets = ["score"]
prevalent = ["signal"]

[modalities.signal]
kind = "vector"
source = "files"
"""
PROGRAM = """
import pkdot.comparison.preloaded, sys
from pkdot.config import DataConfig
from pkdot.data.read_ahead import memory_for
print(len(memory_for(DataConfig(source=sys.argv[1]))))
"""


def test_the_server_of_processes_reads_the_data_in_its_environment(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3, np.float32))
    (tmp_path / "samples.csv").write_text("id,subject,score,signal\na,anna,1,a.npy\nb,bert,2,a.npy\n")
    (tmp_path / "dataset.toml").write_text(TOML)
    settings = asdict(DataConfig(source=str(tmp_path)))
    environment = {**os.environ, READ_AHEAD: json.dumps([settings], default=str)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split()[-1] == "2"
