"""Use modalities that exist only in training to train better models on the other modalities."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pkdot import comparison as comparison
    from pkdot import config as config
    from pkdot import data as data
    from pkdot import encoders as encoders
    from pkdot import losses as losses
    from pkdot import metrics as metrics
    from pkdot import structure as structure
    from pkdot import tasks as tasks
    from pkdot import training as training
    from pkdot import transport as transport
    from pkdot.losses.ot import OTDistillLoss
    from pkdot.structure import anchor_clouds, cosine_structure, topk_anchors
    from pkdot.transport.divergence import sinkhorn_divergence
    from pkdot.version import __version__ as __version__

_HOME = {
    "OTDistillLoss": "pkdot.losses.ot",
    "__version__": "pkdot.version",
    "anchor_clouds": "pkdot.structure",
    "cosine_structure": "pkdot.structure",
    "sinkhorn_divergence": "pkdot.transport.divergence",
    "topk_anchors": "pkdot.structure",
    "comparison": "pkdot.comparison",
    "config": "pkdot.config",
    "data": "pkdot.data",
    "encoders": "pkdot.encoders",
    "losses": "pkdot.losses",
    "metrics": "pkdot.metrics",
    "structure": "pkdot.structure",
    "students": "pkdot.students",
    "tasks": "pkdot.tasks",
    "teachers": "pkdot.teachers",
    "training": "pkdot.training",
    "transport": "pkdot.transport",
}
__all__ = ["OTDistillLoss", "anchor_clouds", "cosine_structure", "sinkhorn_divergence", "topk_anchors"]


def __getattr__(name: str) -> Any:
    # Looked up on first use, so that a command's --help does not wait for torch.
    if name not in _HOME:
        raise AttributeError(f"module 'pkdot' has no attribute {name!r}")
    module = import_module(_HOME[name])
    return module if module.__name__.endswith(f".{name}") else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
