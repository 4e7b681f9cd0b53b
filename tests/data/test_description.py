from pathlib import Path

import pytest

from tests.data.watch import TOML, edit, open_manifest, refusal, write_watch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the data set of the watch."""
    return write_watch(tmp_path)


def test_a_data_set_for_students_needs_no_privileged_modality(folder: Path) -> None:
    text = TOML.partition("[modalities.gyroscope]")[0].replace('privileged = ["gyroscope"]\n', "")
    (folder / "dataset.toml").write_text(text)
    assert open_manifest(folder).schema.privileged == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "watch"', "", "key name is missing"),
        ('name = "watch"', "name = 3", "key name: got 3, expected a text in quotes"),
        ('name = "watch"', 'nmae = "watch"', "unknown key nmae, expected name, task"),
        ('name = "watch"', 'nmae = "watch"', "did you mean 'name'?"),
        ('name = "watch"', "name = watch", "line 2"),
        ('task = "classification"', "", "key task is missing"),
        ('"classification"', '"clasification"', "did you mean 'classification'?"),
        ('task = "classification"', 'task = "regression"', "key classes: got"),
        ('["row", "press"]', '["row"]', "at least two different classes"),
        ('["row", "press"]', '["row", "row"]', "expected each name once"),
        ('["row", "press"]', '[0, "press"]', "expected a list of numbers, or of texts in quotes"),
        ('["row", "press"]', "[true, false]", "expected a list of numbers, or of texts in quotes"),
        ('["row", "press"]', "[1, nan]", "expected a list of numbers, or of texts in quotes"),
        ('["row", "press"]', "[1, 1.0]", "expected each name once"),
        ('["row", "press"]', "[]", "at least two different classes"),
        ('["row", "press"]', '["row\\n", "press"]', "of at most 250 characters in one line"),
        ('["row", "press"]', f"{list(range(5001))}", "key classes: got 5001 classes, expected at most 5000"),
        ('name = "watch"', f'name = "{"x" * 251}"', "of at most 250 characters in one line"),
        ('name = "watch"', 'name = "a\\u0000b"', "of at most 250 characters in one line"),
        ('["exercise"]', '["exercise\\u2028"]', "of at most 250 characters in one line"),
        ('["exercise"]', '["split"]', "key targets: got 'split', expected a column other than id, subject, split"),
        ('["exercise"]', '["exercise", "b"]', "one target column, or several for a regression"),
        ("[modalities.accelerometer]", '[modalities."../accelerometer"]', "key prevalent: got 'accelerometer'"),
        ('["exercise"]', '"exercise"', "key targets: got 'exercise', expected a list"),
        ('["exercise"]', "[]", "one target"),
        ('prevalent = ["accelerometer"]', "prevalent = []", "at least one modality"),
        ('prevalent = ["accelerometer"]', 'prevalent = ["acelerometer"]', "did you mean 'accelerometer'?"),
        ('privileged = ["gyroscope"]', 'privileged = ["gyroscope", "accelerometer"]', "in both"),
        ('privileged = ["gyroscope"]', "privileged = []", "'gyroscope' is in neither"),
        ('kind = "signal"', 'kind = "signals"', "key modalities.accelerometer.kind: got 'signals'"),
        ('kind = "signal"', "", "key modalities.accelerometer.kind is missing"),
        (
            'kind = "signal"\nsource = "array"\nrate_hz = 50',
            'kind = "audio"\nsource = "array"\nrate_hz = 500',
            "(n, time)",
        ),
        ("rate_hz = 50", "rate_hz = 1e99", "got 1e+99, expected a number of samples (or frames) per second, 1e-06 to"),
        (
            'kind = "signal"\nsource = "array"\nrate_hz = 50',
            'kind = "audio"\nsource = "array"\nrate_hz = 1',
            "100 to 1e+06",
        ),
        ("rate_hz = 50", "rate_hz = nan", "key modalities.accelerometer.rate_hz: got nan"),
        ("rate_hz = 50", "rate_hz = true", "key modalities.accelerometer.rate_hz: got True"),
        ("rate_hz = 50", "a." * 200_000 + "b = 1", "readable TOML: it is nested too deeply"),
        ("rate_hz = 50", "\"' '\" ." * 100_000 + "b = 1", "readable TOML: it is nested too deeply"),
        ("rate_hz = 50", f"rate_hz = {'9' * 5000}", "dataset.toml: expected readable TOML"),
        ("rate_hz = 50", f"rate_hz = {'[' * 5000}{']' * 5000}", "readable TOML: it is nested too deeply"),
        ('source = "array"\nrate_hz = 50', 'source = "aray"', "did you mean 'array'?"),
        ("rate_hz = 50", "rate_hz = 0", "key modalities.accelerometer.rate_hz: got 0"),
        ("rate_hz = 50", "rate = 50", "unknown key modalities.accelerometer.rate"),
        ('kind = "signal"\nsource = "array"\nrate_hz = 50', 'kind = "audio"\nsource = "array"', "rate_hz is missing"),
        ("[modalities.accelerometer]", "[[modalities.accelerometer]]", "key modalities"),
    ],
)
def test_a_mistake_in_the_toml_is_named(folder: Path, old: str, new: str, message: str) -> None:
    edit(folder / "dataset.toml", old, new)
    line = refusal(folder)
    assert "dataset.toml" in line or "accelerometer.npy" in line
    assert message in line


@pytest.mark.parametrize("name", ["keys", "type", "_modules", "a.b", "ü 😀"])
def test_any_plain_name_is_a_modality(folder: Path, name: str) -> None:
    edit(folder / "dataset.toml", "[modalities.accelerometer]", f'[modalities."{name}"]')
    edit(folder / "dataset.toml", '["accelerometer"]', f'["{name}"]')
    (folder / "accelerometer.npy").rename(folder / f"{name}.npy")
    assert set(open_manifest(folder).read(0)) == {name, "gyroscope"}


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\\\b", "", "a\\u0000", "x" * 251])
def test_a_name_that_cannot_be_a_files_is_no_modality(folder: Path, name: str) -> None:
    edit(folder / "dataset.toml", "[modalities.accelerometer]", f'[modalities."{name}"]')
    edit(folder / "dataset.toml", '["accelerometer"]', f'["{name}"]')
    line = refusal(folder)
    assert "key modalities: got" in line or "key prevalent: got" in line


def test_a_column_with_a_meaning_holds_no_files(folder: Path) -> None:
    edit(folder / "dataset.toml", "[modalities.gyroscope]", "[modalities.subject]")
    edit(folder / "dataset.toml", '["gyroscope"]', '["subject"]')
    assert "key modalities.subject.source: got 'files', expected 'array', or another modality name" in refusal(folder)


def test_modalities_are_counted(folder: Path) -> None:
    with (folder / "dataset.toml").open("a") as file:
        file.writelines(f"[modalities.m{number}]\n" for number in range(31))
    assert "key modalities: got 33 modalities, expected at most 32" in refusal(folder)


def test_a_long_value_does_not_fill_the_screen(folder: Path) -> None:
    edit(folder / "dataset.toml", '["row", "press"]', f"{[str(number) for number in range(3000)]}")
    assert len(refusal(folder)) < 1000
    edit(folder / "dataset.toml", 'kind = "signal"', f"kind = {list(range(3000))}")
    assert len(refusal(folder)) < 1000
