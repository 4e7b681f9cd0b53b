"""Distillation losses: each a pure function ``xxx_loss(student, teacher, *, ...)`` with a thin module around it."""

from torch import nn

from pkdot.losses.logits import KDLoss, kd_loss
from pkdot.losses.none import NoLoss
from pkdot.losses.ot import OTDistillLoss, ot_distill_loss
from pkdot.losses.structure import StructureKLLoss, StructureMSELoss, structure_kl_loss, structure_mse_loss

LOSSES: dict[str, type[nn.Module]] = {
    "none": NoLoss,
    "ot": OTDistillLoss,
    "structure-mse": StructureMSELoss,
    "structure-kl": StructureKLLoss,
    "kd": KDLoss,
}

__all__ = [
    "LOSSES",
    "KDLoss",
    "NoLoss",
    "OTDistillLoss",
    "StructureKLLoss",
    "StructureMSELoss",
    "kd_loss",
    "ot_distill_loss",
    "structure_kl_loss",
    "structure_mse_loss",
]
