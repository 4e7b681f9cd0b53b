from pathlib import Path

import pytest

from pkdot.cli.arguments import parse
from pkdot.cli.distill import main
from pkdot.config import StudentRunConfig, TeacherRunConfig
from pkdot.training.provenance import to_toml


def student(*words: str) -> StudentRunConfig:
    return parse(StudentRunConfig, words, command="pkdot-distill", description="")


def test_short_aliases_set_nested_fields(tmp_path: Path) -> None:
    config = student(*f"--method kd --topk 0.5 --data x --epochs 3 --seed 4 --out {tmp_path} --labels 0.1".split())
    assert (config.distill.method, config.distill.topk, config.data.source) == ("kd", 0.5, "x")
    assert (config.optim.epochs, config.run.seed, config.run.out, config.data.labels) == (3, 4, tmp_path, 0.1)


def test_a_whole_topk_is_a_number_and_one_with_a_point_a_share() -> None:
    assert isinstance(student("--topk", "1").distill.topk, int)
    assert isinstance(student("--topk", "1.0").distill.topk, float)


def test_a_written_config_reads_back_equal(tmp_path: Path) -> None:
    config = student("--weight", "0.6", "--with-control", "--teacher", "runs/t", "--data.no-augment", "--topk", "8")
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert student("--recipe", str(tmp_path / "config.toml")) == config


def test_later_recipes_win_over_earlier_ones_and_flags_over_recipes(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[optim]\nepochs = 1\nlr = 0.1\n[run]\nseed = 1\n")
    (tmp_path / "b.toml").write_text("[optim]\nepochs = 2\n[run]\nseed = 2\n")
    config = student("--recipe", str(tmp_path / "a.toml"), f"--recipe={tmp_path / 'b.toml'}", "--seed", "3")
    assert (config.optim.epochs, config.optim.lr, config.run.seed) == (2, 0.1, 3)


SHORT = """--lr 0.1 --batch-size 8 --patience 9 --levels ordinal --part B --frames 4 --image-size 16 --folds loso
--fold 2 --width 32 --device cpu --threads 3 --name n --workers 1"""
LONG = """--optim.lr 0.1 --optim.batch-size 8 --optim.patience 9 --data.levels ordinal --data.part B --data.frames 4
--data.image-size 16 --data.folds loso --data.fold 2 --model.width 32 --run.device cpu --run.threads 3 --run.name n
--data.workers 1"""


@pytest.mark.parametrize("kind", [TeacherRunConfig, StudentRunConfig])
def test_the_common_settings_have_short_flags(kind: type) -> None:
    short, long = (parse(kind, words.split(), command="pkdot-x", description="") for words in (SHORT, LONG))
    assert short == long
    assert short != kind()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[optim]\nepochss = 1\n", r"unknown setting optim\.epochss\. Did you mean optim\.epochs\?"),
        ("[optim]\nlabel_noise = 1\n", r"unknown setting optim\.label_noise\. Did you mean data\.label_noise\?"),
        ("optim = 3\n", "unknown setting optim"),
        ("[run]\nseed = true\n", "--seed without a value: expected a whole number"),
        ("[run]\nname = '--help'\nseed = -1\n", "seed -1"),
        ("help = true\n", "unknown setting help"),
        ("version = true\n", "unknown setting version"),
        ("tyro_print_completion = 'bash'\n", "unknown setting tyro_print_completion"),
        ("[distill]\nsettings = ['--help']\n", "unknown setting help"),
        ("[data]\naugment = 'yes'\n", r"data\.augment is 'yes'; expected true or false"),
        ("with_control = '--help'\n", "with_control is '--help'; expected true or false"),
        ("[optim]\nepochs = 'many'\n", "many"),
        ("[optim]\nepochs = 0\n", "epochs 0"),
    ],
)
def test_a_mistake_in_a_recipe_is_blamed_on_the_recipe(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(ValueError, match=rf"mine\.toml: .*{told}"):
        student("--recipe", str(tmp_path / "mine.toml"))


def test_the_settings_of_biovid_are_read_by_their_new_and_their_old_names(tmp_path: Path) -> None:
    new = student("--data.biovid.levels", "ordinal", "--data.biovid.part", "B")
    assert (new.data.biovid.levels, new.data.biovid.part) == ("ordinal", "B")
    for flags in ("--levels ordinal --part B", "--data.levels ordinal --data.part=B"):
        assert student(*flags.split()) == new
    for table in ("[data]\nlevels = 'ordinal'\npart = 'B'\n", "[data.biovid]\nlevels = 'ordinal'\npart = 'B'\n"):
        (tmp_path / "recipe.toml").write_text(table)
        assert student("--recipe", str(tmp_path / "recipe.toml")) == new


def test_settings_that_are_not_set_are_not_written_and_the_word_none_is_read(tmp_path: Path) -> None:
    # Runs of older versions hold label_seed = "None".
    assert "None" not in to_toml(StudentRunConfig())
    (tmp_path / "old.toml").write_text('teacher = "None"\n[data]\nlabel_seed = "None"\ncache_dir = "None"\n')
    assert student("--recipe", str(tmp_path / "old.toml")) == StudentRunConfig()


def test_a_recipe_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("epochs: 3\n")
    with pytest.raises(ValueError, match=r"mine\.toml: not valid TOML"):
        student("--recipe", str(tmp_path / "mine.toml"))


def test_a_teachers_recipe_is_not_a_students(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(to_toml(TeacherRunConfig()))
    with pytest.raises(ValueError, match="settings are for pkdot-train-teacher"):
        student("--recipe", str(tmp_path / "config.toml"))


@pytest.mark.parametrize("words", [["--resume", "x", "--seed", "1"], ["--seed=1", "--resume=x"], ["--resume"]])
def test_resume_stands_alone(words: list[str]) -> None:
    with pytest.raises(ValueError, match="one folder and no other flag"):
        student(*words)


def test_resume_takes_the_runs_own_settings(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(to_toml(student("--seed", "7")))
    config = student("--resume", str(tmp_path))
    assert (config.run.seed, config.run.resume) == (7, tmp_path)


@pytest.mark.parametrize("words", ["foo", "--topk", "--topk many", "--data.levels bin", "--method otx"])
def test_every_mistake_ends_with_code_2_and_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("pkdot-distill: error: ")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--topk", "0"],
        ["--topk", "1.5"],
        ["--topk", "many"],
        ["--labels", "0"],
        ["--labels", "nan"],
        ["--epochs", "0"],
        ["--method", "otx"],
        ["--weight", "-1"],
        ["--seed", "-1"],
        ["--student", "blind"],
        ["--data.val", "0.6", "--data.test", "0.5"],
    ],
)
def test_a_value_out_of_range_is_told_with_its_name(words: list[str]) -> None:
    with pytest.raises(ValueError, match=words[0].split(".")[-1].strip("-")):
        student(*words)
