"""The dataclasses behind the commands: every setting with its default, its unit and its meaning.

Nothing here imports torch: ``--help`` reads this file alone.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from pkdot.checks import check_choice, check_range, settle_types
from pkdot.methods import parse_method
from pkdot.names import listed, names_in


@dataclass
class DataConfig:
    """Which data, and how it is split."""

    source: Annotated[str, arg(aliases=["--data"])] = "synthetic-biovid"
    """Built-in set (synthetic-biovid, synthetic-affwild2), manifest folder, biovid:PATH or affwild2:PATH."""
    levels: Annotated[Literal["binary", "ordinal"], arg(aliases=["--levels"])] = "binary"
    """BioVid target: "binary" is BL1 against PA4 (classification), "ordinal" is BL1 < PA1 < PA2 < PA3 < PA4."""
    part: Annotated[Literal["A", "B"], arg(aliases=["--part"])] = "A"
    """BioVid part: A has GSR, ECG and trapezius EMG; B adds two facial EMG channels."""
    frames: Annotated[int, arg(aliases=["--frames"])] = 12
    """Frames taken from a video clip, evenly spaced (number)."""
    image_size: Annotated[int, arg(aliases=["--image-size"])] = 48
    """Side to which frames are resized (pixels)."""
    labels: Annotated[float, arg(aliases=["--labels"])] = 1.0
    """Share of the training subjects whose labels are kept; the others stay as unlabelled pairs (0 to 1)."""
    labels_by: Literal["subject", "sample"] = "subject"
    """Whether it is subjects, with all of their samples, or single samples that keep their labels."""
    protocol: Literal["subject", "released"] = "subject"
    """"subject": nobody is in two splits. "released": clip-wise as in the published code, which leaks subjects."""
    val: float = 0.15
    """Share of subjects in the validation split (0 to 1), where the data set brings no split of its own."""
    test: float = 0.3
    """Share of subjects in the test split (0 to 1), where the data set brings no split of its own."""
    folds: Annotated[int | Literal["loso"], arg(aliases=["--folds"])] = 0
    """Subject folds for cross-validation, also over a data set's own split (number; 0: none). loso: one a subject."""
    fold: Annotated[int, arg(aliases=["--fold"])] = 0
    """The fold that is tested on, where there are folds (from 0)."""
    split_seed: int = 0
    """Seed of the split and of the choice of labelled subjects; the same for teacher and student."""
    label_seed: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: split-seed)")] = None
    """Seed of the choice of labelled subjects or samples, and of label noise."""
    label_noise: float = 0.0
    """Share of the training labels that are drawn anew at random, as a stress test (0 to 1)."""
    augment: bool = True
    """Flip, shift, light and noise on the student's (or teacher's) training input, seeded per sample."""
    cache_mb: int = 2048
    """Decoded samples kept in memory (MB); what does not fit is read from disk again."""
    cache_dir: Annotated[
        Path | None, arg(metavar="PATH", help_behavior_hint="(default: pkdot in the user's cache folder)")
    ] = None
    """Folder where synthetic sets are kept."""
    outside: bool = False
    """Let paths and links lead out of the data folder; without it they are refused."""
    workers: Annotated[int, arg(aliases=["--workers"])] = 0
    """Processes that read samples beside the training process (number)."""

    def __post_init__(self) -> None:
        settle_types(self)
        check_range("labels", self.labels, 0.0, 1.0, open_low=True)
        check_range("val", self.val, 0.0, 1.0, open_low=True)
        check_range("test", self.test, 0.0, 1.0, open_low=True)
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} + test {self.test} leave nobody to train on; the sum must be below 1.")
        check_range("label_noise", self.label_noise, 0.0, 1.0)
        check_range("split_seed", self.split_seed, 0, 2**63 - 1)
        if self.label_seed is not None:
            check_range("label_seed", self.label_seed, 0, 2**63 - 1)
        if isinstance(self.folds, int):
            check_range("folds", self.folds, 0, 10**6)
            if self.folds == 1:
                raise ValueError("folds 1 leaves nobody to train on; expected 0, or at least 2.")
            check_range("fold", self.fold, 0, max(self.folds - 1, 0))
        check_range("fold", self.fold, 0, 10**6)
        if self.folds and self.protocol == "released":
            raise ValueError('folds divide subjects, and protocol "released" divides clips; expected folds 0.')
        check_range("frames", self.frames, 1, 100_000)
        check_range("image_size", self.image_size, 8, 4096)
        check_range("workers", self.workers, 0, 1024)
        check_range("cache_mb", self.cache_mb, 0, 10**9)


@dataclass
class ModelConfig:
    """The parts of teacher and student."""

    teacher: Annotated[str, arg(metavar=listed("pkdot.teachers", "TEACHERS"))] = "cross-attention"
    """Fusion of the teacher: cross-attention (gated transformer) or concat."""
    student: Annotated[str, arg(aliases=["--student"], metavar=listed("pkdot.students", "STUDENTS"))] = "visual"
    """visual: prevalent modalities only; hallucinating: a T-Net adds what the privileged ones would have said."""
    width: Annotated[int, arg(aliases=["--width"])] = 64
    """Width of the embedding that is distilled (number)."""
    vector: str = "vector"
    """Encoder of vectors."""
    signal: str = "signal"
    """Encoder of signals: signal (1-D CNN) or spectrogram (2-D CNN, as in the published code)."""
    audio: str = "audio"
    """Encoder of audio: audio (log-mel CNN)."""
    image: str = "image"
    """Encoder of images: image (small CNN)."""
    video: str = "video"
    """Encoder of video: video (small, for CPU), r3d-18 or r2plus1d-18 (torchvision's weights fit)."""
    weights: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: random weights)")] = None
    """File of weights with which the video encoder starts: torchvision's state_dict of R3D-18 or R(2+1)D-18."""

    def __post_init__(self) -> None:
        settle_types(self)
        check_range("width", self.width, 1, 4096)
        check_choice("teacher", self.teacher, names_in("pkdot.teachers", "TEACHERS"))
        check_choice("student", self.student, names_in("pkdot.students", "STUDENTS"))
        for kind in ("vector", "signal", "audio", "image", "video"):
            check_choice(f"{kind} encoder", getattr(self, kind), names_in("pkdot.encoders", "ENCODERS"))


@dataclass
class OptimConfig:
    """The optimiser: AdamW, linear warm-up, cosine decay."""

    epochs: Annotated[int | Literal["auto"], arg(aliases=["--epochs"])] = "auto"
    """Passes over the training split (number). auto: enough for some hundreds of steps, more of them on small data."""
    batch_size: Annotated[int, arg(aliases=["--batch-size"])] = 32
    """Samples in a step (number)."""
    lr: Annotated[float, arg(aliases=["--lr"])] = 2e-3
    """Largest learning rate, reached after the warm-up."""
    weight_decay: float = 0.05
    """Weight decay of AdamW; biases and norms have none."""
    warmup: float = 0.1
    """Share of the steps over which the learning rate rises (0 to 1)."""
    clip: float = 1.0
    """Largest norm of the gradient; a longer gradient is scaled down to it."""
    patience: Annotated[int | Literal["auto"], arg(aliases=["--patience"])] = "auto"
    """Epochs without a better validation score before training stops (number). auto: 0.4 of the epochs, at least 8."""
    task_loss: Literal["auto", "cross-entropy", "corn", "ccc", "mse"] = "auto"
    """auto: cross-entropy for classes and levels, 1 - CCC for regression. corn keeps the order of the levels."""
    amp: bool = True
    """bfloat16 autocast where the device gains by it (CUDA)."""

    def __post_init__(self) -> None:
        settle_types(self)
        if self.epochs != "auto":
            check_range("epochs", self.epochs, 1, 10**6)
        check_range("batch_size", self.batch_size, 1, 10**6)
        check_range("lr", self.lr, 0.0, 1e3, open_low=True)
        check_range("weight_decay", self.weight_decay, 0.0, 1e3)
        check_range("warmup", self.warmup, 0.0, 1.0)
        check_range("clip", self.clip, 0.0, 1e9, open_low=True)
        if self.patience != "auto":
            check_range("patience", self.patience, 1, 10**6)


@dataclass
class DistillConfig:
    """What the student takes from the teacher."""

    method: Annotated[str, arg(aliases=["--method"], metavar=listed("pkdot.losses", "LOSSES"))] = "ot"
    """Distillation loss, or several with their shares: ot+kd, ot+0.5*kd; none trains the student without a teacher."""
    weight: Annotated[float | Literal["auto"], arg(aliases=["--weight"])] = "auto"
    """Weight of the distillation loss; auto balances the gradient of each loss against the task's at the embedding."""
    balance: float | Literal["auto"] = "auto"
    """Factor on the balanced weight; auto is 8 where fewer than half of the samples have labels, otherwise 0.5."""
    topk: Annotated[int | float | Literal["auto"], arg(aliases=["--topk"])] = "auto"
    """Anchors per sample: a number, or a share of the batch in (0, 1] written with a point, such as 0.5."""
    select: Literal["auto", "nearest", "farthest", "stratified", "shared"] = "auto"
    """Which columns of the teacher's structure matrix are anchors; auto is the loss's own default."""
    transport: Literal["auto", "rows", "anchors"] = "auto"
    """rows: one transport problem a batch; anchors: one a sample, over its own anchors."""
    blur: float = 0.1
    """Entropic regularisation: eps = blur^2, in units of the clouds' coordinates."""
    temperature: float = 0.1
    """Softmax temperature of the similarity distributions (transport anchors, structure-kl)."""
    kd_temperature: float = 1.0
    """Softmax temperature of method kd."""
    settings: Annotated[tuple[str, ...], arg(aliases=["--set"])] = ()
    """Further settings of the losses by their names: beta=8, or rkd.angle=0 where several losses are combined."""
    alignment_epochs: int = 30
    """Passes in which mt-ot aligns each modality's teacher with the joint one (number)."""
    teacher_input: Literal["clean", "augmented"] = "clean"
    """clean: the teacher sees each sample as it is, once, and is cached; augmented: it sees the student's batch."""

    def __post_init__(self) -> None:
        settle_types(self)
        parse_method(self.method)
        for setting in self.settings:
            if not all(setting.partition("=")[::2]):
                raise ValueError(f"setting {setting!r}: expected name=value, such as beta=8.")
        check_range("alignment_epochs", self.alignment_epochs, 1, 10**6)
        for name in ("blur", "temperature", "kd_temperature"):
            check_range(name, getattr(self, name), 0.0, 1e6, open_low=True)
        if isinstance(self.topk, int):
            check_range("topk", self.topk, 1, 10**9)
        elif isinstance(self.topk, float):
            check_range("topk", self.topk, 0.0, 1.0, open_low=True)
        if isinstance(self.weight, float | int):
            check_range("weight", self.weight, 0.0, 1e9)
        if isinstance(self.balance, float | int):
            check_range("balance", self.balance, 0.0, 1e9)


@dataclass
class RunConfig:
    """Where and how the run is made."""

    out: Annotated[Path, arg(aliases=["--out"])] = Path("runs")
    """Folder that receives the run folder."""
    name: Annotated[str, arg(aliases=["--name"], help_behavior_hint="(default: what is trained)")] = ""
    """Name of the run folder, behind date and time."""
    seed: Annotated[int, arg(aliases=["--seed"])] = 0
    """Seed of weights, order and augmentation."""
    device: Annotated[str, arg(aliases=["--device"])] = "auto"
    """Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:N."""
    threads: Annotated[int, arg(aliases=["--threads"])] = 0
    """CPU threads (number; 0: as many as torch chooses). Results repeat bit for bit at the same number."""
    checkpoint_steps: int = 0
    """Steps between two saved states within an epoch (0: save at the end of each epoch)."""
    picture_epochs: int = 5
    """Epochs between two pictures of the structure matrices and the plan in TensorBoard (0: no pictures at all)."""
    resume: Annotated[
        Path | None, arg(aliases=["--resume"], metavar="PATH", help_behavior_hint="(default: a new run)")
    ] = None
    """Run folder to resume; every other setting then comes from its config.toml, and the data must be the same."""

    def __post_init__(self) -> None:
        settle_types(self)
        if set(self.name) & set("/\\\0"):
            raise ValueError(f"name {self.name!r}: expected the name of a folder, without slashes.")
        check_range("seed", self.seed, 0, 2**63 - 1)
        check_range("threads", self.threads, 0, 4096)
        check_range("checkpoint_steps", self.checkpoint_steps, 0, 10**9)
        check_range("picture_epochs", self.picture_epochs, 0, 10**9)


@dataclass
class TeacherRunConfig:
    """Train a teacher on all modalities."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)
    privileged: bool = True
    """Whether the teacher sees the privileged modalities; without, it is the control of what they are worth."""

    def __post_init__(self) -> None:
        settle_types(self)


@dataclass
class StudentRunConfig:
    """Distil a teacher into a student that needs the prevalent modalities only."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    run: RunConfig = field(default_factory=RunConfig)
    teacher: Annotated[
        Path | None,
        arg(metavar="PATH", help_behavior_hint="(default: one in --out that fits exactly, or a new one)"),
    ] = None
    """Run folder of the teacher, or a folder that holds one such run."""
    with_control: bool = False
    """Also train the undistilled student with the same seed, and print the gap closed."""

    def __post_init__(self) -> None:
        settle_types(self)


@dataclass
class EvaluateConfig:
    """Evaluate the selected model of a run."""

    folder: Positional[Path]
    """Run folder of a teacher or a student."""
    data: Annotated[str | None, arg(metavar="STR", help_behavior_hint="(default: the run's own)")] = None
    """Other data to evaluate on, as in --data of pkdot-distill."""
    split: Literal["train", "val", "test"] = "test"
    """Split to evaluate on."""
    batch_size: int = 64
    """Samples in a forward pass (number)."""
    device: str = "auto"
    """Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:N."""
    predictions: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: not written)")] = None
    """CSV file to which the predictions are written too."""

    def __post_init__(self) -> None:
        settle_types(self)
        check_range("batch_size", self.batch_size, 1, 10**6)
