"""Students: models that read the prevalent modalities only. ``STUDENTS[name](schema, model_config)`` builds one."""

from torch import nn

from pkdot.students.hallucinating import HallucinatingStudent
from pkdot.students.visual import VisualStudent

__all__ = ["STUDENTS", "HallucinatingStudent", "VisualStudent"]

STUDENTS: dict[str, type[nn.Module]] = {
    "visual": VisualStudent,
    "hallucinating": HallucinatingStudent,
}
