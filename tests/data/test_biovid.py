import os
import pickle
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pkdot.config import DataConfig
from pkdot.data import open_dataset
from pkdot.data.batch import MultimodalDataset
from pkdot.data.biovid import BioVid
from pkdot.data.synthetic.biovid import SyntheticBioVidSpec, write_synthetic_biovid
from pkdot.recipes import settings_from

SMALL = {"frames": 4, "image_size": 16}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    spec = SyntheticBioVidSpec(subjects=2, per_class=1, frames=6, size=16, levels="ordinal")
    return write_synthetic_biovid(tmp_path_factory.mktemp("biovid"), spec)


@pytest.fixture
def root(original, tmp_path):
    shutil.copytree(original, tmp_path / "PartA")
    return tmp_path


def open_at(root, **settings):
    return BioVid.open(root, settings_from(DataConfig, {**SMALL, **settings}))


def signal_file(root, record):
    return root / "PartA" / "biosignals_filtered" / record.subject / f"{record.id}_bio.csv"


def edit(file, change):
    lines = file.read_text().splitlines()
    change(lines)
    file.write_text("\n".join(lines) + "\n")


def test_binary_keeps_the_outer_levels_as_classes(root):
    dataset = open_at(root)
    assert isinstance(dataset, MultimodalDataset)
    assert dataset.schema.task.kind == "classification"
    assert dataset.schema.task.classes == ("BL1", "PA4")
    assert (dataset.schema.prevalent, dataset.schema.privileged) == (("video",), ("physio",))
    assert len(dataset.records) == 4
    for record in dataset.records:
        assert record.target == (1.0 if "-PA4-" in record.id else 0.0,)
        assert record.id.startswith(record.subject)


def test_ordinal_keeps_all_levels_in_order(root):
    dataset = open_at(root, levels="ordinal")
    assert dataset.schema.task.kind == "ordinal"
    assert dataset.schema.task.classes == ("BL1", "PA1", "PA2", "PA3", "PA4")
    assert sorted(record.target[0] for record in dataset.records) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_the_folder_of_a_part_opens_too(root):
    assert open_at(root / "PartA").records == open_at(root).records
    assert open_dataset(DataConfig(source=f"biovid:{root}", **SMALL)).records == open_at(root).records


def test_samples_csv_may_stand_in_the_part_itself(root):
    before = open_at(root).records
    shutil.move(root / "PartA" / "starting_point" / "samples.csv", root / "PartA" / "samples.csv")
    assert open_at(root).records == before


def test_a_sample_has_the_shapes_of_the_schema(root):
    dataset = open_at(root)
    sample = dataset.read(0)
    assert {name: tuple(stream.shape) for name, stream in sample.items()} == {
        name: modality.shape for name, modality in dataset.schema.modalities.items()
    }
    assert sample["video"].dtype == torch.uint8
    assert sample["physio"].dtype == torch.float32


def test_frames_are_evenly_spaced_and_resized(root):
    dataset = open_at(root)
    record = dataset.records[0]
    folder = root / "PartA" / "video_frames" / record.subject / record.id
    for number in range(1, 7):
        Image.new("RGB", (20, 10), (number * 30, 0, 0)).save(folder / f"img_{number:05d}.jpg")
    video = open_at(root).read(0)["video"]
    assert video.shape == (3, 4, 16, 16)
    assert np.round(video[0].double().mean((1, 2)).numpy() / 30).tolist() == [1, 3, 4, 6]


def test_signals_are_read_by_name_in_their_units(root):
    record = open_at(root).records[0]
    file = signal_file(root, record)
    table = np.loadtxt(file, skiprows=1)
    swapped = ["ecg", "emg_zygomaticus", "time", "emg_trapezius", "gsr"]
    columns = np.column_stack([table[:, 2], table[:, 1], table[:, 0], table[:, 3], table[:, 1]])
    np.savetxt(file, columns, "%.3f", "\t", header="\t".join(swapped), comments="")
    physio = open_at(root).read(0)["physio"].double().numpy()
    assert np.allclose(physio[0], table[:, 1] - table[:512, 1].mean(), atol=1e-5)
    assert np.allclose(physio[1], table[:, 2], atol=1e-3)
    assert np.allclose(physio[2], table[:, 3], atol=1e-3)


@pytest.mark.parametrize("rows", [2810, 2822])
def test_recordings_a_little_short_or_long_are_fitted(root, rows):
    record = open_at(root).records[0]

    def change(lines):
        lines += [lines[-1]] * 20
        del lines[rows + 1 :]

    whole = open_at(root).read(0)["physio"]
    edit(signal_file(root, record), change)
    fitted = open_at(root).read(0)["physio"]
    kept = min(rows, 2816)
    assert fitted.shape == whole.shape
    assert torch.equal(fitted[:, :kept], whole[:, :kept])
    assert (fitted[:, kept:] == fitted[:, kept - 1 : kept]).all()


def test_missing_files_are_missing_modalities(root):
    dataset = open_at(root)
    first, second = dataset.records[:2]
    signal_file(root, first).unlink()
    shutil.rmtree(root / "PartA" / "video_frames" / second.subject / second.id)
    assert set(dataset.read(0)) == {"video"}
    assert set(dataset.read(1)) == {"physio"}


def test_part_b_has_two_facial_channels(tmp_path):
    write_synthetic_biovid(tmp_path, SyntheticBioVidSpec(subjects=1, per_class=1, frames=4, size=16, part="B"))
    dataset = open_at(tmp_path, part="B")
    assert dataset.schema.modalities["physio"].shape == (5, 2816)
    assert dataset.read(0)["physio"].shape == (5, 2816)


def test_a_data_set_survives_the_trip_to_a_worker(root):
    dataset = open_at(root)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.records == dataset.records
    assert torch.equal(copy.read(0)["physio"], dataset.read(0)["physio"])


def test_films_are_read_where_there_are_no_frames(root, monkeypatch):
    record = open_at(root).records[0]
    shutil.rmtree(root / "PartA" / "video_frames")
    film = root / "PartA" / "video" / record.subject / f"{record.id}.mp4"
    film.parent.mkdir(parents=True)
    film.write_bytes(b"a film")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"\.mp4: .*pkdot\[video\]"):
        open_at(root).read(0)

    class Container:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def decode(self, video):
            for shade in range(0, 100, 10):
                picture = Image.new("RGB", (8, 6), (shade, 0, 0))
                yield SimpleNamespace(width=8, height=6, to_image=lambda picture=picture: picture)

    monkeypatch.setitem(sys.modules, "av", SimpleNamespace(open=lambda file, options: Container()))
    video = open_at(root).read(0)["video"]
    assert video[0, :, 0, 0].tolist() == [0, 30, 60, 90]


def break_cell(line, column, value):
    def change(lines):
        cells = lines[line - 1].split("\t")
        cells[column] = value
        lines[line - 1] = "\t".join(cells)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (break_cell(7, 1, "nan"), r"_bio.csv, line 7, field gsr: got 'nan', expected a finite number"),
        (break_cell(9, 2, "-inf"), r"_bio.csv, line 9, field ecg: got '-inf'"),
        (break_cell(100, 3, "high"), r"_bio.csv, line 100, field emg_trapezius: got 'high'"),
        (break_cell(5, 3, "1.0\t2.0"), r"_bio.csv, line 5: got 5 cells, expected 4"),
        (break_cell(1, 1, "eda"), r"_bio.csv, line 1: no column 'gsr' among .*eda.*separated by tabs"),
        (lambda lines: lines.__delitem__(slice(2000, None)), r"_bio.csv: got 1999 rows, expected 2800 to 2830"),
        (lambda lines: lines.clear(), r"_bio.csv, line 1: no column 'gsr'"),
    ],
)
def test_a_wrong_signal_is_found_again(root, change, message):
    dataset = open_at(root)
    edit(signal_file(root, dataset.records[0]), change)
    with pytest.raises(ValueError, match=message):
        dataset.read(0)


def test_a_truncated_picture_is_named(root):
    dataset = open_at(root)
    record = dataset.records[0]
    picture = root / "PartA" / "video_frames" / record.subject / record.id / "img_00001.jpg"
    picture.write_bytes(picture.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"img_00001.jpg: expected a whole picture"):
        dataset.read(0)


def test_an_empty_frame_folder_is_named(root):
    dataset = open_at(root)
    for picture in (root / "PartA" / "video_frames" / dataset.records[0].subject / dataset.records[0].id).iterdir():
        picture.unlink()
    with pytest.raises(ValueError, match=r"expected frames img_00001.jpg"):
        dataset.read(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (break_cell(3, 3, "PA7"), r"samples.csv, line 3, field class_name: got 'PA7', expected one of BL1, PA1"),
        (break_cell(3, 2, "9"), r"samples.csv, line 3, field class_id: got '9', expected"),
        (break_cell(3, 5, "somebody-PA4-001"), r"line 3, field sample_name: got 'somebody-PA4-001'"),
        (break_cell(3, 1, "071309_w_21"), r"line 3, field subject_name: got '071309_w_21', expected"),
        (break_cell(1, 5, "name"), r"samples.csv, line 1: no column 'sample_name'"),
        (lambda lines: lines.append(lines[1]), r"line 12, field sample_name: .* it is also in line 2"),
        (lambda lines: lines.__setitem__(2, "1\t2"), r"samples.csv, line 3: got 2 cells, expected 6"),
        (lambda lines: lines.__delitem__(slice(1, None)), r"samples.csv has no sample of the classes BL1, PA4"),
    ],
)
def test_a_wrong_list_of_samples_is_found_again(root, change, message):
    edit(root / "PartA" / "starting_point" / "samples.csv", change)
    with pytest.raises(ValueError, match=message):
        open_at(root)


def test_a_sample_of_another_class_than_its_line_says_is_found(root):
    file = root / "PartA" / "starting_point" / "samples.csv"
    edit(file, lambda lines: lines.__setitem__(1, lines[1].replace(lines[1].split("\t")[5], "071309_w_21-PA1-001")))
    line = file.read_text().splitlines()[1].split("\t")
    if line[3] == "PA1":
        edit(file, lambda lines: lines.__setitem__(1, lines[1].replace("-PA1-", "-PA2-")))
    with pytest.raises(ValueError, match=r"line 2, field sample_name: .* expected a sample of class"):
        open_at(root)


def test_blanks_around_names_are_no_part_of_them(root):
    before = open_at(root).records
    file = root / "PartA" / "starting_point" / "samples.csv"
    edit(file, lambda lines: lines.__setitem__(1, lines[1] + "  "))
    assert open_at(root).records == before


@pytest.mark.parametrize("path", [None, "empty"])
def test_a_folder_without_the_layout_is_refused(tmp_path, path):
    with pytest.raises(ValueError, match=r"--data biovid:PATH|expected PartA/starting_point/samples.csv"):
        open_at(path if path is None else tmp_path)


def test_a_folder_that_does_not_exist_is_called_that(tmp_path):
    with pytest.raises(ValueError, match="absent: no such folder"):
        open_at(tmp_path / "absent")


def test_contents_are_the_files_of_the_listed_samples(root):
    dataset = open_at(root)
    first, second = dataset.records[:2]
    signal_file(root, first).unlink()
    shutil.rmtree(root / "PartA" / "video_frames" / second.subject / second.id)
    film = root / "PartA" / "video" / second.subject / f"{second.id}.mp4"
    film.parent.mkdir(parents=True)
    film.write_bytes(b"film")
    found = list(dataset.contents())
    frames = root / "PartA" / "video_frames" / first.subject / first.id
    assert found[0] == root / "PartA" / "starting_point" / "samples.csv"
    assert found[1:7] == [frames / f"img_{number:05d}.jpg" for number in range(1, 7)]
    assert found[7:9] == [film, signal_file(root, second)]
    assert len(found) == 9 + 2 * 7


@pytest.mark.parametrize("kind", ["frames", "signal", "table"])
def test_a_link_that_leads_out_is_refused_unless_allowed(root, tmp_path_factory, kind):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x"
    record = open_at(root).records[0]
    place = {
        "frames": root / "PartA" / "video_frames" / record.subject / record.id,
        "signal": signal_file(root, record),
        "table": root / "PartA" / "starting_point" / "samples.csv",
    }[kind]
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    with pytest.raises(ValueError, match=r"leads to .*; --data.outside allows it"):
        open_at(root).read(0)
    assert set(open_at(root, outside=True).read(0)) == {"video", "physio"}


@pytest.mark.parametrize("kind", ["frames", "picture", "signal", "table"])
@pytest.mark.parametrize("thing", ["pipe", "nothing"])
def test_what_cannot_be_read_is_not_missing(root, kind, thing):
    record = open_at(root).records[0]
    frames = root / "PartA" / "video_frames" / record.subject / record.id
    table = root / "PartA" / "starting_point" / "samples.csv"
    picture = frames / "img_00001.jpg"
    place = {"frames": frames, "picture": picture, "signal": signal_file(root, record), "table": table}[kind]
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    os.mkfifo(place) if thing == "pipe" else place.symlink_to("gone")
    with pytest.raises(ValueError, match=f"{place}: "):
        open_at(root).read(0)


def test_frames_are_in_the_order_of_their_numbers(root):
    record = open_at(root).records[0]
    folder = root / "PartA" / "video_frames" / record.subject / record.id
    for file in folder.iterdir():
        file.rename(folder / file.name.replace("0000", ""))
    for number in range(1, 13):
        Image.new("L", (16, 16), number * 20).save(folder / f"img_{number}.jpg")
    (folder / "._img_1.jpg").write_bytes(b"of a Macintosh")
    assert open_at(root, frames=12).read(0)["video"][0, :, 8, 8].tolist() == [20 * number for number in range(1, 13)]
