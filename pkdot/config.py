"""The dataclasses behind the commands: every setting with its default, its unit and its meaning.

The docstring of a field is its text in ``--help``. Nothing here imports torch, so that ``--help`` is fast.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from pkdot.checks import check_choice, check_range, settle_types
from pkdot.methods import parse_method
from pkdot.names import listed, names_in


@dataclass
class BioVidConfig:
    """Settings of BioVid and of its synthetic twin; other data sets ignore them."""

    levels: Annotated[Literal["binary", "ordinal"], arg(aliases=["--levels", "--data.levels"])] = "binary"
    """Target: "binary" classifies BL1 against PA4; "ordinal" is BL1 < PA1 < PA2 < PA3 < PA4."""
    part: Annotated[Literal["A", "B"], arg(aliases=["--part", "--data.part"])] = "A"
    """Part: A has GSR, ECG and trapezius EMG; B adds two facial EMG channels."""

    def __post_init__(self) -> None:
        settle_types(self)


@dataclass
class DataConfig:
    """Which data to use, and how to split it."""

    source: Annotated[str, arg(aliases=["--data"])] = "synthetic-biovid"
    """Built-in set (synthetic-biovid, synthetic-affwild2), folder with a dataset.toml, biovid:PATH or affwild2:PATH."""
    frames: Annotated[int, arg(aliases=["--frames"])] = 12
    """Video: frames per clip, evenly spaced (number)."""
    image_size: Annotated[int, arg(aliases=["--image-size"])] = 48
    """Video and images: side to which frames are resized (pixels)."""
    labels: Annotated[float, arg(aliases=["--labels"])] = 1.0
    """Share of the training subjects that keep their labels; the others are used without labels (0 to 1)."""
    labels_by: Literal["subject", "sample"] = "subject"
    """Whether whole subjects keep their labels, or single samples."""
    protocol: Literal["subject", "released"] = "subject"
    """"subject": no person is in two splits. "released": split by clip, as published; this leaks subjects."""
    val: float = 0.15
    """Share of the subjects in the validation split (0 to 1); ignored if the data set has its own split."""
    test: float = 0.3
    """Share of the subjects in the test split (0 to 1); ignored if the data set has its own split."""
    folds: Annotated[int | Literal["loso"], arg(aliases=["--folds"])] = 0
    """Folds of a cross-validation over subjects, replacing any other split (number; 0: none). loso: one per subject."""
    fold: Annotated[int, arg(aliases=["--fold"])] = 0
    """Fold that is the test split, counted from 0; only with folds."""
    split_seed: int = 0
    """Seed of the split and of the choice of labelled subjects. Use the same for teacher and student."""
    label_seed: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: split-seed)")] = None
    """Seed of the choice of labelled subjects or samples, and of label noise."""
    label_noise: float = 0.0
    """Share of the training labels that are replaced by random ones, as a stress test (0 to 1)."""
    augment: bool = True
    """Augment the training input: flip, shift, brightness and noise, seeded per sample."""
    cache_mb: int = 2048
    """RAM for decoded samples (MB); samples that do not fit are read from the disk in every epoch."""
    cache_dir: Annotated[
        Path | None, arg(metavar="PATH", help_behavior_hint="(default: pkdot in the user's cache folder)")
    ] = None
    """Folder for the synthetic data sets."""
    outside: bool = False
    """Allow paths and links that lead out of the data folder; otherwise they are refused."""
    workers: Annotated[int, arg(aliases=["--workers"])] = 0
    """Processes that read samples in addition to the training process (number)."""
    biovid: BioVidConfig = field(default_factory=BioVidConfig)

    def __post_init__(self) -> None:
        settle_types(self)
        check_range("labels", self.labels, 0.0, 1.0, open_low=True)
        check_range("val", self.val, 0.0, 1.0, open_low=True)
        check_range("test", self.test, 0.0, 1.0, open_low=True)
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} + test {self.test} leave no subject to train on; expected a sum below 1.")
        check_range("label_noise", self.label_noise, 0.0, 1.0)
        check_range("split_seed", self.split_seed, 0, 2**63 - 1)
        if self.label_seed is not None:
            check_range("label_seed", self.label_seed, 0, 2**63 - 1)
        if isinstance(self.folds, int):
            check_range("folds", self.folds, 0, 10**6)
            if self.folds == 1:
                raise ValueError("folds 1 leaves no subject to train on; expected 0, or at least 2.")
            check_range("fold", self.fold, 0, max(self.folds - 1, 0))
        check_range("fold", self.fold, 0, 10**6)
        if self.folds and self.protocol == "released":
            raise ValueError('folds divide subjects, but protocol "released" divides clips; expected folds 0.')
        check_range("frames", self.frames, 1, 100_000)
        check_range("image_size", self.image_size, 8, 4096)
        check_range("workers", self.workers, 0, 1024)
        check_range("cache_mb", self.cache_mb, 0, 10**9)


@dataclass
class ModelConfig:
    """The parts of teacher and student."""

    teacher: Annotated[str, arg(metavar=listed("pkdot.teachers", "TEACHERS"))] = "cross-attention"
    """How the teacher fuses modalities: cross-attention (gated transformer) or concat."""
    student: Annotated[str, arg(aliases=["--student"], metavar=listed("pkdot.students", "STUDENTS"))] = "visual"
    """visual: prevalent modalities only; hallucinating: a T-Net also predicts the teacher's privileged streams."""
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
    """Initial weights of the video encoder: a file with torchvision's state_dict of R3D-18 or R(2+1)D-18."""

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
    """Passes over the training split (number). auto: enough for several hundred steps; small data get more epochs."""
    batch_size: Annotated[int, arg(aliases=["--batch-size"])] = 32
    """Samples per step (number)."""
    lr: Annotated[float, arg(aliases=["--lr"])] = 2e-3
    """Largest learning rate, reached after the warm-up."""
    weight_decay: float = 0.05
    """Weight decay of AdamW; not applied to biases and normalisation layers."""
    warmup: float = 0.1
    """Share of the steps during which the learning rate rises (0 to 1)."""
    clip: float = 1.0
    """Largest norm of the gradient; a larger gradient is scaled down to it."""
    patience: Annotated[int | Literal["auto"], arg(aliases=["--patience"])] = "auto"
    """Stop after this number of epochs without a better validation score. auto: 0.4 of the epochs, at least 8."""
    task_loss: Literal["auto", "cross-entropy", "corn", "ccc", "mse"] = "auto"
    """auto: cross-entropy for classes and levels, 1 - CCC for regression. corn uses the order of the levels."""
    amp: bool = True
    """Train in bfloat16 (autocast) on CUDA."""

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
    """What the student learns from the teacher."""

    method: Annotated[str, arg(aliases=["--method"], metavar=listed("pkdot.losses", "LOSSES"))] = "ot"
    """Distillation loss, or a sum with shares: ot+kd, ot+0.5*kd. none: train the student without a teacher."""
    weight: Annotated[float | Literal["auto"], arg(aliases=["--weight"])] = "auto"
    """Weight of the distillation loss. auto: balance its gradient at the embedding against that of the task loss."""
    balance: float | Literal["auto"] = "auto"
    """Factor on the balanced weight. auto: 8 if fewer than half of the samples have labels, else 0.5."""
    topk: Annotated[int | float | Literal["auto"], arg(aliases=["--topk"])] = "auto"
    """Anchors per sample: a number, or a share of the batch in (0, 1], written with a decimal point, such as 0.5."""
    select: Literal["auto", "nearest", "farthest", "stratified", "shared"] = "auto"
    """Which columns of the teacher's structure matrix are anchors. auto: the default of the loss."""
    transport: Literal["auto", "rows", "anchors"] = "auto"
    """rows: one transport problem per batch; anchors: one per sample, over its anchors. auto: rows."""
    blur: float = 0.1
    """Entropic regularisation: eps = blur^2, in units of cosine similarity."""
    temperature: float = 0.1
    """Softmax temperature in units of cosine similarity (transport anchors, structure-kl)."""
    kd_temperature: float = 1.0
    """Softmax temperature of method kd, in units of logits."""
    settings: Annotated[tuple[str, ...], arg(aliases=["--set"])] = ()
    """Other settings of the loss: beta=8; or rkd.angle=0 for one loss of a sum."""
    alignment_epochs: int = 30
    """mt-ot only: epochs in which the teacher of each modality is aligned with the joint teacher (number)."""
    teacher_input: Literal["clean", "augmented"] = "clean"
    """clean: the teacher sees each sample once, without augmentation; augmented: it sees the student's input."""

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
    """Where the run is saved, and how it is computed."""

    out: Annotated[Path, arg(aliases=["--out"])] = Path("runs")
    """Folder in which the run folder is made."""
    name: Annotated[str, arg(aliases=["--name"], help_behavior_hint="(default: what is trained)")] = ""
    """Name of the run folder, after date and time."""
    seed: Annotated[int, arg(aliases=["--seed"])] = 0
    """Seed of the weights, the order of samples and the augmentation."""
    device: Annotated[str, arg(aliases=["--device"])] = "auto"
    """Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:N."""
    threads: Annotated[int, arg(aliases=["--threads"])] = 0
    """CPU threads (number; 0: torch decides). The same number gives the same result, bit for bit."""
    checkpoint_steps: int = 0
    """Steps between saved states within an epoch (0: save only at the end of each epoch)."""
    picture_epochs: int = 5
    """Epochs between pictures of structure matrices and transport plan in TensorBoard (0: no pictures)."""
    resume: Annotated[
        Path | None, arg(aliases=["--resume"], metavar="PATH", help_behavior_hint="(default: a new run)")
    ] = None
    """Run folder to resume. All other settings come from its config.toml; the data must not have changed."""

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
    """Train on the privileged modalities too. A teacher without them is a control: it shows what they are worth."""

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
        arg(metavar="PATH", help_behavior_hint="(default: one in --out with the same settings, or a new one)"),
    ] = None
    """Run folder of the teacher, or a folder with one such run in it."""
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
    """Samples per forward pass (number)."""
    device: str = "auto"
    """Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:N."""
    predictions: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: not written)")] = None
    """CSV file for the predictions."""

    def __post_init__(self) -> None:
        settle_types(self)
        check_range("batch_size", self.batch_size, 1, 10**6)
