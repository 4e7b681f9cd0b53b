"""What a data set is to the rest of the house: a schema, records, and batches of tensors."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from pkdot.checks import settle_types
from pkdot.tasks import Task

Kind = Literal["vector", "signal", "image", "video", "audio"]


@dataclass(frozen=True)
class Modality:
    """One input stream.

    Attributes:
        kind: what the stream is, which also picks its encoder.
        shape: of one sample as the model receives it: vector ``(d,)``, signal ``(channels, time)``,
            image ``(channels, height, width)``, video ``(channels, time, height, width)``, audio ``(time,)``.
        rate_hz: samples (signal, audio) or frames (video) per second.
    """

    kind: Kind
    shape: tuple[int, ...]
    rate_hz: float | None = None

    def __post_init__(self) -> None:
        settle_types(self)


@dataclass(frozen=True)
class Schema:
    """What the samples of a data set consist of. A checkpoint stores it: a model refuses data it cannot read."""

    name: str
    task: Task
    modalities: dict[str, Modality]
    prevalent: tuple[str, ...]
    privileged: tuple[str, ...]

    def prevalent_only(self) -> "Schema":
        """The same data set without its privileged modalities."""
        modalities = {name: self.modalities[name] for name in self.prevalent}
        return replace(self, modalities=modalities, privileged=())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the inverse of :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Schema":
        """Rebuild a schema from :meth:`to_dict`, also after a round trip through JSON."""
        saved = plain["task"]
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in saved.items()}
        task = Task(**fields)
        modalities = {
            name: Modality(kind=m["kind"], shape=tuple(m["shape"]), rate_hz=m["rate_hz"])
            for name, m in plain["modalities"].items()
        }
        prevalent, privileged = tuple(plain["prevalent"]), tuple(plain["privileged"])
        if {*prevalent, *privileged} != modalities.keys():
            raise ValueError(f"modalities {', '.join(modalities)} are not those that are prevalent or privileged")
        return cls(plain["name"], task, modalities, prevalent, privileged)


@dataclass(frozen=True)
class Record:
    """What is known of a sample before any of its files is opened.

    ``target`` holds class indices (classification, ordinal) or values (regression); None means unlabelled.
    ``split`` is "train", "val" or "test" where the data set itself says so.
    """

    id: str
    subject: str
    target: tuple[float, ...] | None
    split: str | None = None


@runtime_checkable
class MultimodalDataset(Protocol):
    """A schema, the records, and a way to read one sample."""

    schema: Schema
    records: Sequence[Record]

    def read(self, index: int) -> dict[str, Tensor]:
        """The sample's modalities in the schema's shapes; a missing modality is absent.

        Image and video are uint8 or float in [0, 1], everything else float32. Opens this sample's files and no
        other. Raises ``ValueError`` naming the file and what was expected.
        """
        ...


@runtime_checkable
class ReadsTogether(Protocol):
    """A data set that reads several samples faster together than one by one."""

    def read_together(self, indices: Sequence[int]) -> dict[str, Tensor] | None:
        """``(n, *shape)`` of every modality, unchecked, otherwise as ``read``; None where that cannot be done."""
        ...


@dataclass(frozen=True)
class Batch:
    """Samples side by side.

    A missing modality is a row of zeros whose ``present`` is False; an unlabelled sample is a target row whose
    ``labelled`` is False, and it still distils.

    Attributes:
        ids: the samples' names.
        modalities: name to float32 ``(B, *shape)``.
        present: name to ``(B,)`` bool, for every modality.
        target: ``(B,)`` int64 class indices, or ``(B, R)`` float32 values.
        labelled: ``(B,)`` bool.
    """

    ids: tuple[str, ...]
    modalities: dict[str, Tensor]
    present: dict[str, Tensor]
    target: Tensor
    labelled: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def missing(self) -> dict[str, Tensor]:
        """The masks of those modalities that some samples lack: what a model takes as ``present``."""
        return {name: mask for name, mask in self.present.items() if not bool(mask.all())}
