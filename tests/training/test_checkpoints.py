from pathlib import Path

import pytest
import torch

from pkdot.training.checkpoints import digest, load_state, save_state


def example_state() -> dict[str, object]:
    return {"weights": {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)}, "step": 4, "sums": {"loss": 0.1}}


def test_a_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    save_state(tmp_path / "last.pt", example_state())
    assert digest(load_state(tmp_path / "last.pt")) == digest(example_state())


def test_saving_leaves_no_temporary_file(tmp_path: Path) -> None:
    save_state(tmp_path / "last.pt", example_state())
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_failed_save_keeps_the_earlier_state(tmp_path: Path) -> None:
    save_state(tmp_path / "last.pt", example_state())
    with pytest.raises(Exception, match=r"pickle|Pickl|local"):
        save_state(tmp_path / "last.pt", {"cannot be saved": lambda: None})
    assert load_state(tmp_path / "last.pt")["step"] == 4


def test_a_flipped_byte_in_a_state_is_found(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_state(path, {"weights": torch.full((1000,), 1.5)})
    content = bytearray(path.read_bytes())
    place = content.find(torch.full((4,), 1.5).numpy().tobytes())
    content[place + 64] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"last\.pt"):
        load_state(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_state(tmp_path / "last.pt")


def test_a_truncated_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_state(path, example_state())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_state(path)


def test_a_state_runs_no_code_when_it_is_read(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("ran",)

    torch.save({"digest": "", "state": {"x": Harmful()}}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_state(tmp_path / "last.pt")


def test_digest_tells_shape_type_name_and_content_apart() -> None:
    base = torch.arange(4.0)
    others = [base.view(2, 2), base.double(), base + 1]
    assert len({digest({"a": base}), digest({"b": base}), *(digest({"a": other}) for other in others)}) == 5
