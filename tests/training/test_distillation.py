import json
from pathlib import Path

import pytest
import torch

from pkdot.config import DistillConfig
from pkdot.losses import LOSSES
from pkdot.tasks import Task
from pkdot.training.alignment import align
from pkdot.training.distillation import build_criteria
from pkdot.training.evaluation import Predictions
from pkdot.training.run_folder import RunResult
from pkdot.training.student import distill
from pkdot.training.teacher import train_teacher
from tests.support import student_config, teacher_config, write_vectors

BINARY = Task("classification", ("answer",), ("low", "high"))
TERNARY = Task("classification", ("answer",), ("low", "middle", "high"))
VALUE = Task("regression", ("answer",))
FOR_REGRESSION = ("ccc", "pearson", "bounded", "imitation")
FOR_CLASSES = ("kd", "dkd", "dist", "logitstd")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """A data set and its teacher for three classes, and for a value."""
    root = tmp_path_factory.mktemp("taught")
    sets = {
        "classes": write_vectors(root / "classes", names=("low", "middle", "high")),
        "value": write_vectors(root / "value", task="regression"),
    }
    return {kind: (data, train_teacher(teacher_config(data, root / "runs")).folder.path) for kind, data in sets.items()}


@pytest.mark.parametrize("method", LOSSES)
def test_every_method_trains_to_the_end(taught: dict[str, tuple[Path, Path]], tmp_path: Path, method: str) -> None:
    data, teacher = taught["value" if method in FOR_REGRESSION else "classes"]
    config = student_config(data, tmp_path, teacher=teacher, method=method)
    config.data.labels = 0.5
    result = distill(config)
    assert result.student.result["method"] == method
    assert (result.teacher is None) == (method == "none")
    if method != "none":
        assert result.student.result["weights"][method] > 0


@pytest.mark.parametrize("method", ["mse", "mad", "crd", "mt-ot"])
def test_what_fits_any_task_also_trains_a_regression(
    taught: dict[str, tuple[Path, Path]], tmp_path: Path, method: str
) -> None:
    data, teacher = taught["value"]
    assert distill(student_config(data, tmp_path, teacher=teacher, method=method)).student.result["weights"][method] > 0


def test_a_combination_logs_and_balances_each_of_its_parts(
    taught: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    data, teacher = taught["classes"]
    alone = distill(student_config(data, tmp_path, teacher=teacher, method="kd", balance=2.0)).student
    both = distill(student_config(data, tmp_path, teacher=teacher, method="ot+3*kd", balance=2.0)).student
    assert both.result["weights"]["kd"] == pytest.approx(0.75 * alone.result["weights"]["kd"])
    row = json.loads(both.folder.metrics.read_text().splitlines()[-1])["train"]
    weights = both.result["weights"]
    assert row["loss"] == pytest.approx(row["task"] + weights["ot"] * row["ot"] + weights["kd"] * row["kd"])
    given = distill(student_config(data, tmp_path, teacher=teacher, method="ot+3*kd", weight=0.5)).student
    assert given.result["weights"] == {"ot": 0.5, "kd": 1.5}


@pytest.mark.parametrize(
    ("method", "task", "message"),
    [
        ("kd", VALUE, "compares class logits"),
        ("kd", Task("ordinal", ("pain",), ("no", "some", "much"), "corn"), "compares class logits"),
        ("ccc", BINARY, "compares regression outputs"),
        ("dkd", BINARY, "at least 3 classes"),
        ("ot+logitstd", BINARY, "at least 3 classes"),
    ],
)
def test_a_method_that_does_not_fit_the_task_is_refused(method: str, task: Task, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        criteria(task, method=method)


def criteria(task: Task, **settings: object) -> dict[str, torch.nn.Module]:
    config = DistillConfig(**settings)  # type: ignore[arg-type]
    return build_criteria(config, task, student_width=4, teacher_width=6, samples=10)


def test_settings_reach_the_losses_that_take_them() -> None:
    made = criteria(TERNARY, method="rkd+dkd", settings=("beta=2", "rkd.angle=0"))
    assert made["dkd"].beta == 2
    assert made["rkd"].angle == 0
    assert criteria(VALUE, method="mad")["mad"].uncertainty == "error"
    assert criteria(TERNARY, method="mt-ot", topk=4)["mt-ot"].transport.settings.topk == 4
    assert criteria(TERNARY, method="kd+structure-kl", kd_temperature=3.0)["kd"].temperature == 3
    assert criteria(TERNARY, method="dkd")["dkd"].temperature == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "kd", "topk": 4}, "--distill.topk means nothing to method 'kd', which takes temperature"),
        ({"method": "dkd", "settings": ("bta=2",)}, "--set bta=2 means nothing"),
        ({"method": "rkd+dkd", "settings": ("rkd.beta=2",)}, "rkd.beta=2 means nothing"),
        ({"method": "dkd", "settings": ("beta=-1",)}, "beta is -1"),
        ({"method": "rkd", "settings": ("angle",)}, "expected name=value"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        criteria(TERNARY, **settings)


def test_alignment_brings_each_modality_near_the_joint_teacher_and_reads_the_task_from_it() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (240,), generator=generator)
    joint = torch.nn.functional.one_hot(target, 8).float() + 0.1 * torch.randn(240, 8, generator=generator)
    mixing = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0]
    streams = {"good": joint @ mixing, "noise": torch.randn(240, 8, generator=generator)}
    known = Predictions(
        tuple(map(str, range(240))), 4 * joint[:, :3], joint, streams, target, torch.ones(240, dtype=torch.bool)
    )
    pool = align(known, known, TERNARY, epochs=20, seed=0, device=torch.device("cpu"))
    from pkdot.model import Output

    output = Output(known.embedding, known.prediction, known.streams)
    good, noise, last = pool.embeddings(output)
    assert torch.cosine_similarity(good, joint).mean() > 0.7
    assert torch.cosine_similarity(noise, joint).mean() < 0.6
    assert torch.equal(last, joint)
    labelled = torch.arange(240) < 200
    errors = pool.errors(output, target, labelled)
    assert errors.shape == (3, 240)
    assert errors[0].mean() < errors[1].mean()
    assert (errors[:, 200:] == 0).all()
    assert not any(parameter.requires_grad for parameter in pool.parameters())
    bare = Predictions(known.ids, known.prediction, joint, {}, target, known.labelled)
    with pytest.raises(ValueError, match="one stream per modality"):
        align(bare, bare, TERNARY, epochs=1, seed=0, device=torch.device("cpu"))


def test_modalities_of_any_name_are_aligned() -> None:
    generator = torch.Generator().manual_seed(0)
    names = ("keys", "type", "_modules", "a.b", "ü 😀")
    streams = {name: torch.randn(6, 4, generator=generator) for name in names}
    embedding, target = torch.randn(6, 4, generator=generator), torch.arange(6) % 3
    known = Predictions(tuple("abcdef"), embedding[:, :3], embedding, streams, target, torch.ones(6, dtype=torch.bool))
    pool = align(known, known, TERNARY, epochs=1, seed=0, device=torch.device("cpu"))
    assert list(pool.adapted(streams)) == list(names)


def test_a_teacher_without_the_privileged_modality_is_a_control_and_never_found_by_itself(
    vectors: Path, teacher: RunResult, tmp_path: Path
) -> None:
    config = teacher_config(vectors, tmp_path)
    config.privileged = False
    control = train_teacher(config)
    assert control.result["metrics"] != teacher.result["metrics"]
    student = distill(student_config(vectors, tmp_path / "students", teacher=control.folder.path, method="kd")).student
    assert student.result["weights"]["kd"] > 0
    found = distill(student_config(vectors, tmp_path, method="kd"))
    assert found.teacher is not None
    assert found.teacher.folder != control.folder
