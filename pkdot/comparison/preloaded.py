"""What the server of processes has imported before it forks, so that a run starts in milliseconds."""

import torch._dynamo  # torch's optimisers would import it at their first step

import pkdot.comparison.execution

__all__ = ["pkdot", "torch"]
