"""The room of the synthetic sets: nobody outside knows how people are simulated."""

from tests.house import edges_of, texts

ROOM = "pkdot.data.synthetic"
DOORS = {f"{ROOM}.biovid", f"{ROOM}.affwild2"}


def test_only_the_dict_of_data_sets_imports_from_the_room_and_no_simulator() -> None:
    entering = {(name, other) for name, other in edges_of(texts()) if other.startswith(ROOM)}
    outside = {(name, other) for name, other in entering if not name.startswith(ROOM)}
    assert outside == {("pkdot.data", door) for door in DOORS}
