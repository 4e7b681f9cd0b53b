"""Teachers: models that read all modalities. ``TEACHERS[name](schema, model_config)`` builds one."""

from torch import nn

from pkdot.teachers.concat import ConcatTeacher
from pkdot.teachers.cross_attention import CrossAttentionTeacher

__all__ = ["TEACHERS", "ConcatTeacher", "CrossAttentionTeacher"]

TEACHERS: dict[str, type[nn.Module]] = {
    "cross-attention": CrossAttentionTeacher,
    "concat": ConcatTeacher,
}
