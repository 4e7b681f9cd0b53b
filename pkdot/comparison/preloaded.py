"""What the server of processes imports and reads before it forks, so that a run starts in milliseconds."""

import json
import os

import torch._dynamo  # torch's optimisers would import it at their first step

import pkdot.comparison.execution
from pkdot.config import DataConfig
from pkdot.data.read_ahead import read_ahead
from pkdot.recipes import settings_from

__all__ = ["pkdot", "torch"]

for settings in json.loads(os.environ.get(pkdot.comparison.execution.READ_AHEAD, "[]")):
    read_ahead(settings_from(DataConfig, settings))
