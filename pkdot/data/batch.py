"""What the rest of the house sees of a data set: its schema, its records, and batches of tensors."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from pkdot.checks import settle_types
from pkdot.tasks import Task

Kind = Literal["vector", "signal", "image", "video", "audio"]


@dataclass(frozen=True)
class Modality:
    """One kind of input: what it holds, and its shape.

    >>> Modality("signal", (3, 2816), rate_hz=512.0)
    Modality(kind='signal', shape=(3, 2816), rate_hz=512.0)

    Attributes:
        kind: what the modality holds; it decides which encoder reads it.
        shape: the shape of one sample as a model receives it: vector ``(d,)``, signal ``(channels, time)``,
            image ``(channels, height, width)``, video ``(channels, time, height, width)``, audio ``(time,)``.
        rate_hz: samples (signal, audio) or frames (video) per second; None if unknown.
    """

    kind: Kind
    shape: tuple[int, ...]
    rate_hz: float | None = None

    def __post_init__(self) -> None:
        settle_types(self)


@dataclass(frozen=True)
class Schema:
    """The task and the modalities of a data set.

    A checkpoint stores the schema of its training data, so that a model refuses data that it cannot read.

    >>> task = Task("classification", ("pain",), ("no", "yes"))
    >>> modalities = {"video": Modality("video", (3, 12, 48, 48)), "physio": Modality("signal", (3, 2816), 512)}
    >>> schema = Schema("mine", task, modalities, prevalent=("video",), privileged=("physio",))
    >>> list(schema.prevalent_only().modalities)
    ['video']
    >>> Schema.from_dict(schema.to_dict()) == schema
    True
    """

    name: str
    task: Task
    modalities: dict[str, Modality]
    prevalent: tuple[str, ...]
    privileged: tuple[str, ...]

    def prevalent_only(self) -> "Schema":
        """The same schema without the privileged modalities."""
        modalities = {name: self.modalities[name] for name in self.prevalent}
        return replace(self, modalities=modalities, privileged=())

    def to_dict(self) -> dict[str, Any]:
        """The schema as plain JSON types, for :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Schema":
        """Rebuild a schema from the result of :meth:`to_dict`, also after a round trip through JSON."""
        saved = plain["task"]
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in saved.items()}
        task = Task(**fields)
        modalities = {
            name: Modality(kind=m["kind"], shape=tuple(m["shape"]), rate_hz=m["rate_hz"])
            for name, m in plain["modalities"].items()
        }
        prevalent, privileged = tuple(plain["prevalent"]), tuple(plain["privileged"])
        if {*prevalent, *privileged} != modalities.keys():
            raise ValueError(
                f"schema {plain['name']!r}: prevalent and privileged name {', '.join((*prevalent, *privileged))}, "
                f"expected each of its modalities {', '.join(modalities)}."
            )
        return cls(plain["name"], task, modalities, prevalent, privileged)


@dataclass(frozen=True)
class Record:
    """What is known about a sample before any of its files is opened.

    >>> Record("clip7", subject="anna", target=(1.0,))
    Record(id='clip7', subject='anna', target=(1.0,), split=None)

    Attributes:
        id: the sample's name, unique in the data set.
        subject: the person (or video) that the sample belongs to; splits keep subjects together.
        target: one class index (classification, ordinal) or R values (regression); None means unlabelled.
        split: "train", "val" or "test" if the data set brings a split of its own.
    """

    id: str
    subject: str
    target: tuple[float, ...] | None
    split: str | None = None


@runtime_checkable
class MultimodalDataset(Protocol):
    """A schema, one record for each sample, and a way to read a sample: what every reader returns.

    >>> import torch
    >>> class Ones:
    ...     schema = Schema("ones", Task("regression", ("y",)), {"x": Modality("vector", (2,))}, ("x",), ())
    ...     records = [Record("a", "anna", (0.5,))]
    ...
    ...     def read(self, index):
    ...         return {"x": torch.ones(2)}
    >>> isinstance(Ones(), MultimodalDataset)
    True
    """

    schema: Schema
    records: Sequence[Record]

    def read(self, index: int) -> dict[str, Tensor]:
        """Read one sample: its modalities in the schema's shapes. A missing modality has no entry.

        Images and videos are uint8 or float in [0, 1]; everything else is float32. A reader opens the files of this
        sample only, and raises ``ValueError`` with the file's name and what was expected.
        """
        ...


@runtime_checkable
class ReadsTogether(Protocol):
    """A data set that reads several samples at once faster than one by one.

    >>> import torch
    >>> class Rows:
    ...     def read_together(self, indices):
    ...         return {"x": torch.zeros(len(indices), 2)}
    >>> isinstance(Rows(), ReadsTogether)
    True
    """

    def read_together(self, indices: Sequence[int]) -> dict[str, Tensor] | None:
        """Read ``(n, *shape)`` for every modality, unchecked; None if these samples must be read one by one."""
        ...


@dataclass(frozen=True)
class Batch:
    """B samples stacked into tensors.

    Where a sample lacks a modality, the modality's row is zero and ``present`` is False. An unlabelled sample has a
    target of 0, ``labelled`` is False, and it still takes part in distillation.

    >>> import torch
    >>> modalities, masks = {"x": torch.ones(2, 3)}, {"x": torch.tensor([True, False])}
    >>> batch = Batch(("a", "b"), modalities, masks, target=torch.tensor([0, 1]), labelled=torch.tensor([True, True]))
    >>> len(batch), batch.missing()
    (2, {'x': tensor([ True, False])})

    Attributes:
        ids: the samples' names.
        modalities: float32 ``(B, *shape)`` by modality name.
        present: bool ``(B,)`` by modality name, for every modality.
        target: ``(B,)`` int64 class indices, or ``(B, R)`` float32 values.
        labelled: bool ``(B,)``.
    """

    ids: tuple[str, ...]
    modalities: dict[str, Tensor]
    present: dict[str, Tensor]
    target: Tensor
    labelled: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def missing(self) -> dict[str, Tensor]:
        """The masks to pass to a model as ``present``: those of modalities that at least one sample lacks."""
        return {name: mask for name, mask in self.present.items() if not bool(mask.all())}
