"""Students: models that read the prevalent modalities only, built as ``STUDENTS[name](schema, model_config)``."""

from torch import nn

from pkdot.students.hallucinating import HallucinatingStudent
from pkdot.students.visual import VisualStudent

__all__ = ["STUDENTS", "HallucinatingStudent", "VisualStudent"]

STUDENTS: dict[str, type[nn.Module]] = {
    "visual": VisualStudent,
    "hallucinating": HallucinatingStudent,
}
