"""Who learns from whom on what: the controls of a comparison are what the report calls them."""

import json
from dataclasses import asdict, replace

import pytest

from pkdot.comparison.config import CompareConfig
from pkdot.comparison.execution import train
from pkdot.comparison.grid_source import grid_of
from pkdot.comparison.plan import Plan
from pkdot.comparison.results import scores
from pkdot.comparison.run import Run
from pkdot.config import StudentRunConfig, TeacherRunConfig
from tests.support import write_vectors

GRID = """
sets.toy = {{ data.source = "{data}", optim = {{ epochs = 1, batch_size = 16 }}, model.width = 4 }}
[regimes.few]
data = {{ labels = 0.4, label_noise = 0.2 }}
teacher.data = {{ labels = 0.8 }}
[entries]
kd.distill = {{ method = "kd" }}
ot.distill = {{ method = "ot", topk = 4 }}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("plan")
    (folder / "grid.toml").write_text(GRID.format(data=write_vectors(folder / "toy")))
    config = CompareConfig(grid=folder / "grid.toml", seeds=2, tune_seeds=2, out=folder / "out")
    return Plan(grid_of(config), config)


@pytest.fixture(scope="module")
def cell(plan: Plan) -> dict[str, Run]:
    """The runs of the second repetition, by their names."""
    runs = plan.block("toy", "few").testing({"kd": 8.0, "ot": 0.02, "self-training": 0.4})
    return {run.entry: run for run in runs if run.cell.seed == 1}


def student(run: Run) -> StudentRunConfig:
    assert isinstance(run.config, StudentRunConfig)
    return run.config


def teacher(run: Run) -> TeacherRunConfig:
    assert isinstance(run.config, TeacherRunConfig)
    return run.config


def test_every_block_has_every_control(cell: dict[str, Run]) -> None:
    controls = {"none", "all labels", "self-training", "kd from prevalent teacher"}
    assert cell.keys() == {"teacher", "self teacher", "prevalent teacher", "kd", "ot"} | controls


def test_only_the_teacher_sees_the_privileged_modality_and_the_controls_teachers_do_not(cell: dict[str, Run]) -> None:
    kinds = {name: teacher(cell[name]) for name in ("teacher", "prevalent teacher", "self teacher")}
    assert {name: config.privileged for name, config in kinds.items()} == {
        "teacher": True,
        "prevalent teacher": False,
        "self teacher": False,
    }
    # The one in the same form as the privileged one, and the other in the form of the student.
    assert kinds["teacher"].model == kinds["prevalent teacher"].model
    assert kinds["self teacher"].model.teacher == "concat"


@pytest.mark.parametrize(
    ("entry", "of"),
    [
        ("kd", "teacher"),
        ("ot", "teacher"),
        ("self-training", "self teacher"),
        ("kd from prevalent teacher", "prevalent teacher"),
        ("none", None),
        ("all labels", None),
    ],
)
def test_each_student_learns_from_its_own_teacher(cell: dict[str, Run], entry: str, of: str | None) -> None:
    assert cell[entry].teacher == (None if of is None else cell[of].folder.resolve())
    method = student(cell[entry]).distill.method
    assert method == {"none": "none", "all labels": "none", "ot": "ot"}.get(entry, "kd")


def test_students_differ_only_in_what_they_learn_from(cell: dict[str, Run]) -> None:
    plain = student(cell["none"])
    assert (plain.data.labels, plain.data.label_noise, plain.data.split_seed, plain.run.seed) == (0.4, 0.2, 1, 1)
    for name in ("kd", "ot", "self-training", "kd from prevalent teacher", "all labels"):
        config = student(cell[name])
        data = asdict(config.data)
        if name == "all labels":
            assert (data.pop("labels"), data.pop("label_noise")) == (1.0, 0.0)
        assert data.items() <= asdict(plain.data).items()
        assert (config.model, config.optim, config.run) == (plain.model, plain.optim, plain.run)


def test_a_regimes_teacher_settings_apply_to_all_teachers_and_to_no_student(cell: dict[str, Run]) -> None:
    labels = {name: run.config.data.labels for name, run in cell.items()}
    assert {labels[name] for name in ("teacher", "prevalent teacher", "self teacher")} == {0.8}
    assert {labels[name] for name in ("none", "kd", "ot", "self-training")} == {0.4}


def test_chosen_factors_reach_their_own_entries(cell: dict[str, Run]) -> None:
    balances = {name: student(run).distill.balance for name, run in cell.items() if not run.is_teacher}
    assert balances == {
        "kd": 8.0,
        "ot": 0.02,
        "self-training": 0.4,
        "kd from prevalent teacher": "auto",
        "none": "auto",
        "all labels": "auto",
    }


def test_every_repetition_trains_its_own_teachers_on_its_own_split(plan: Plan) -> None:
    block = plan.block("toy", "few")
    runs = block.testing({}) + block.deciding(block.tuned)
    teachers = {run.folder.resolve(): run for run in runs if run.is_teacher}
    assert len(teachers) == 3 * 4
    for run in runs:
        if run.teacher is not None:
            of = teachers[run.teacher]
            assert of.cell == run.cell
            assert of.config.data.split_seed == run.config.data.split_seed
            assert of.config.run.seed == run.config.run.seed
    assert plan.block("toy", "few").tuned == ["self-training", "kd from prevalent teacher", "kd", "ot"]


def test_a_run_scores_what_it_did_on_the_test_split(plan: Plan, cell: dict[str, Run]) -> None:
    runs = [cell["teacher"], cell["none"], cell["prevalent teacher"]]
    for run in runs:
        train(run)
    runs = [replace(run, cell=replace(run.cell, fold=2)) for run in runs]
    told = {}
    for number, run in enumerate(runs):
        path = run.folder / "result.json"
        result = json.loads(path.read_text())
        result["metrics"] = {"macro_f1": 0.9, "accuracy": 0.1 * (number + 1)}
        result["validation"]["score"] = 0.77
        path.write_text(json.dumps(result))
        told[run.entry] = result
    found = {score.entry: score for score in scores([cell["kd"], *runs[::-1]])}
    # What is not finished has no line, and neither have the teachers of controls.
    assert found.keys() == {"teacher", "none"}
    assert {name: score.value for name, score in found.items()} == pytest.approx({"teacher": 0.1, "none": 0.2})
    for name, score in found.items():
        assert (score.data, score.regime, score.metric) == ("toy", "few", "accuracy")
        assert (score.fold, score.seed) == (2, 1)
        assert score.split == told[name]["split_digest"]
        assert (score.train_samples, score.test_samples) == (told[name]["train_samples"], told[name]["samples"])
