"""Turn privileged training modalities into better single-modality models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pkdot.losses.ot import OTDistillLoss
    from pkdot.structure import anchor_clouds, cosine_structure, topk_anchors
    from pkdot.transport.divergence import sinkhorn_divergence

_HOME = {
    "OTDistillLoss": "pkdot.losses.ot",
    "cosine_structure": "pkdot.structure",
    "topk_anchors": "pkdot.structure",
    "anchor_clouds": "pkdot.structure",
    "sinkhorn_divergence": "pkdot.transport.divergence",
}
__all__ = ["OTDistillLoss", "anchor_clouds", "cosine_structure", "sinkhorn_divergence", "topk_anchors"]


def __getattr__(name: str) -> Any:
    # Looked up on first use, so that a command's --help does not wait for torch.
    if name not in _HOME:
        raise AttributeError(f"module 'pkdot' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
