import contextlib
import io
import random
import re

import pytest

from pkdot.cli import compare, distill, evaluate, train_teacher
from pkdot.cli.flags import EVERYWHERE, explained, flags_of, is_flag, nearest
from pkdot.comparison.config import CompareConfig
from pkdot.config import EvaluateConfig, StudentRunConfig, TeacherRunConfig

COMMANDS = {
    train_teacher: TeacherRunConfig,
    distill: StudentRunConfig,
    evaluate: EvaluateConfig,
    compare: CompareConfig,
}


@pytest.mark.parametrize(("command", "kind"), COMMANDS.items())
def test_the_flags_are_those_of_the_help_each_with_its_default(command: object, kind: type) -> None:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), pytest.raises(SystemExit):
        command.main(["--help"])  # type: ignore[attr-defined]
    # A flag begins a line of the help, or stands behind another flag and what it takes.
    described = told.getvalue().partition("options")[2]
    shown = set(re.findall(r"(?:^[│|+ ]*|, )(--[a-z][\w.-]*)", described, re.MULTILINE)) - {"--help"}
    assert set(flags_of(kind)) >= shown
    assert all(flag in described for flag in flags_of(kind))
    assert "None" not in described  # what is taken instead is said
    assert described.count("(default:") == len({*flags_of(kind).values()})


def slips(flag: str, place: int) -> set[str]:
    """The flag with the letter at a place dropped, doubled, and swapped with the next."""
    letter, following = flag[place], flag[place + 1 : place + 2]
    dropped, doubled = flag[:place] + flag[place + 1 :], flag[:place] + letter + flag[place:]
    return {dropped, doubled, flag[:place] + following + letter + flag[place + 2 :]}


@pytest.mark.parametrize("kind", COMMANDS.values())
def test_a_slip_in_any_flag_is_told_the_flag_that_was_meant(kind: type) -> None:
    flags = [*flags_of(kind), *EVERYWHERE]
    chance = random.Random(0)
    for flag in flags:
        for typo in slips(flag, chance.randrange(2, len(flag))) - set(flags):
            meant = nearest(typo, flags)
            assert meant == flag or flags_of(kind).get(str(meant)) == flags_of(kind).get(flag, ""), typo


@pytest.mark.parametrize(
    ("word", "flag"),
    [
        ("--epoch", "--epochs"),
        ("-epochs", "--epochs"),
        ("--blur", "--distill.blur"),
        ("--no-augment", "--data.no-augment"),
        ("--data.aug", "--data.augment"),
        ("--folsd", "--folds"),
        ("--fols", "--folds"),
    ],
)
def test_a_flag_is_found_by_its_name_within_its_group(word: str, flag: str) -> None:
    assert nearest(word, list(flags_of(StudentRunConfig))) == flag


def test_no_flag_is_suggested_for_what_is_like_none() -> None:
    assert nearest("--zzzzzz", list(flags_of(StudentRunConfig))) is None
    assert explained(StudentRunConfig, ["--zzzzzz=1"], "") == "unknown flag --zzzzzz."


def test_a_negative_number_is_no_flag() -> None:
    assert not any(map(is_flag, ("-1", "-.5", "-1e-3", "-inf", "kd", "-")))
    assert all(map(is_flag, ("-h", "--topk", "--data.source=x")))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--topk many", "--topk many: expected a whole number, a finite number or auto."),
        ("--distill.topk=many", "--topk many: expected a whole number, a finite number or auto."),
        ("--epochs 3 --epochs 3.5 --seed 1", "--epochs 3.5: expected a whole number or auto."),
        ("--data.label_noise much", "--data.label-noise much: expected a finite number."),
        ("--data.split-seed x --data.cache-mb 3", "--data.split-seed x: expected a whole number."),
        ("--levels bin", "--levels bin: expected binary or ordinal."),
        ("--epochs", "--epochs without a value: expected a whole number or auto."),
        ("--epochs --seed 1", "--epochs without a value: expected a whole number or auto."),
        ("foo --seed 1", "unexpected 'foo'."),
        ("--seed 1 --labels 0.1 1.0", "unexpected '1.0' after --labels."),
        ("--data.no-augment=yes", "unexpected 'yes' after --data.no-augment."),
        ("--epohcs 3", "unknown flag --epohcs. Did you mean --epochs?"),
    ],
)
def test_a_value_of_another_type_is_told_what_was_expected(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill.main(words.split()) == 2
    assert capsys.readouterr().err == f"pkdot-distill: error: {told}\n"
