"""Distillation losses: each is a pure function ``xxx_loss(student, teacher, *, ...)`` with a thin module around it.

The module is a :class:`pkdot.losses.base.DistillationLoss`, which tells the trainer what it compares and what else it
needs. ``LOSSES`` maps the words of ``--method`` to modules. To add a loss, write a module and add a line here.
"""

from torch import nn

from pkdot.losses.base import DistillationLoss
from pkdot.losses.correlation import DISTLoss, PearsonLoss, dist_loss, pearson_loss
from pkdot.losses.crd import CRDLoss, crd_loss
from pkdot.losses.dkd import DKDLoss, dkd_loss
from pkdot.losses.embedding import CosineLoss, HintLoss, VIDLoss, cosine_loss, hint_loss, vid_loss
from pkdot.losses.logits import KDLoss, LogitStdLoss, kd_loss, logitstd_loss
from pkdot.losses.mmd import MMDLoss, mmd_loss
from pkdot.losses.multi_teacher import MultiTeacherOTLoss, centroid_loss, choose_teacher
from pkdot.losses.none import NoLoss
from pkdot.losses.ot import OTDistillLoss, OTSettings, ot_distill_loss
from pkdot.losses.regression import (
    BoundedLoss,
    CCCLoss,
    ImitationLoss,
    MSELoss,
    bounded_loss,
    ccc_loss,
    imitation_loss,
    mse_loss,
)
from pkdot.losses.rkd import RKDLoss, rkd_loss
from pkdot.losses.similarity import CCLoss, MADLoss, PKTLoss, SPLoss, cc_loss, mad_loss, pkt_loss, sp_loss
from pkdot.losses.structure import StructureKLLoss, StructureMSELoss, structure_kl_loss, structure_mse_loss

LOSSES: dict[str, type[nn.Module]] = {
    "none": NoLoss,
    "ot": OTDistillLoss,
    "structure-mse": StructureMSELoss,
    "structure-kl": StructureKLLoss,
    "mt-ot": MultiTeacherOTLoss,
    "kd": KDLoss,
    "dkd": DKDLoss,
    "dist": DISTLoss,
    "logitstd": LogitStdLoss,
    "mse": MSELoss,
    "ccc": CCCLoss,
    "pearson": PearsonLoss,
    "bounded": BoundedLoss,
    "imitation": ImitationLoss,
    "hint": HintLoss,
    "cosine": CosineLoss,
    "vid": VIDLoss,
    "mmd": MMDLoss,
    "crd": CRDLoss,
    "sp": SPLoss,
    "rkd": RKDLoss,
    "pkt": PKTLoss,
    "cc": CCLoss,
    "mad": MADLoss,
}

__all__ = [
    "LOSSES",
    "BoundedLoss",
    "CCCLoss",
    "CCLoss",
    "CRDLoss",
    "CosineLoss",
    "DISTLoss",
    "DKDLoss",
    "DistillationLoss",
    "HintLoss",
    "ImitationLoss",
    "KDLoss",
    "LogitStdLoss",
    "MADLoss",
    "MMDLoss",
    "MSELoss",
    "MultiTeacherOTLoss",
    "NoLoss",
    "OTDistillLoss",
    "OTSettings",
    "PKTLoss",
    "PearsonLoss",
    "RKDLoss",
    "SPLoss",
    "StructureKLLoss",
    "StructureMSELoss",
    "VIDLoss",
    "bounded_loss",
    "cc_loss",
    "ccc_loss",
    "centroid_loss",
    "choose_teacher",
    "cosine_loss",
    "crd_loss",
    "dist_loss",
    "dkd_loss",
    "hint_loss",
    "imitation_loss",
    "kd_loss",
    "logitstd_loss",
    "mad_loss",
    "mmd_loss",
    "mse_loss",
    "ot_distill_loss",
    "pearson_loss",
    "pkt_loss",
    "rkd_loss",
    "sp_loss",
    "structure_kl_loss",
    "structure_mse_loss",
    "vid_loss",
]
