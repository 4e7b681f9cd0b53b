import numpy as np
import pytest

from pkdot.data.tables import is_name, number_name, read_numbers, read_rows, to_number, write_lines


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_rows_know_their_line_and_lose_blanks(table):
    rows = read_rows(table("a, b\n1 , x\n\n2,y y \n"), ("a", "b"), ",")
    assert [(row.line, row.cells) for row in rows] == [(2, {"a": "1", "b": "x"}), (4, {"a": "2", "b": "y y"})]
    assert str(rows[1].error("b", "a letter")).endswith("table.csv, line 4, field b: got 'y y', expected a letter.")


def test_numbers_come_in_the_order_that_was_asked_for(table):
    path = table("a\tb\tc\n1\t2\t3\n4\t5e-1\t-6\n")
    assert read_numbers(path, ("c", "a"), "\t").tolist() == [[3, 1], [-6, 4]]


def test_numbers_equal_what_was_written(table):
    values = np.random.default_rng(0).normal(size=(50, 2))
    path = table("a,b\n" + "\n".join(",".join(repr(float(v)) for v in row) for row in values) + "\n\n")
    assert (read_numbers(path, ("a", "b"), ",") == values).all()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_line_ends_and_byte_order_marks_of_other_systems_are_read(table, ending, encoding):
    path = table(ending.join(["a,b", "1,2", ""]), encoding)
    assert read_numbers(path, ("a", "b"), ",").tolist() == [[1, 2]]
    assert read_rows(path, ("a",), ",")[0].cells == {"a": "1", "b": "2"}


def test_a_table_without_lines_is_empty(table):
    assert read_numbers(table("a,b\n"), ("a", "b"), ",").shape == (0, 2)
    assert read_rows(table("a,b\n"), ("a", "b"), ",") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: no column 'a' among \[\]; expected a, b separated by commas"),
        ("a;b\n1;2\n", r"line 1: no column 'a' among \['a;b'\]"),
        ("a,b\n1,2\n1,2,3\n", r"line 3: got 3 cells, expected 2: a, b"),
        ("a,b\n1,2\n\n1,2\n", r"line 3: got 1 cells, expected 2"),
        ("a,b\n1,2\n1,two\n", r"line 3, field b: got 'two', expected a finite number"),
        ("a,b\n1,2\n,2\n", r"line 3, field a: got '', expected a finite number"),
        ("a,b\n1,2\ninf,2\n", r"line 3, field a: got 'inf'"),
    ],
)
def test_a_wrong_cell_is_found_again(table, text, message):
    with pytest.raises(ValueError, match=r"table.csv, " + message):
        read_numbers(table(text), ("a", "b"), ",")


def test_the_same_column_twice_is_told(table):
    with pytest.raises(ValueError, match=r"line 1: more than one column 'b' in \['a', 'b', 'b'\]"):
        read_numbers(table("a,b,b\n1,2,3\n"), ("a", "b"), ",")


@pytest.mark.parametrize("cell", ["1e16", "-1e999", "1_0", "nan"])
def test_a_number_that_no_sensor_has_is_found_again(table, cell):
    with pytest.raises(
        ValueError, match=rf"table.csv, line 3, field b: got '{cell}', expected a finite number, at most"
    ):
        read_numbers(table(f"a,b\n1,2\n1,{cell}\n"), ("a", "b"), ",")


@pytest.mark.parametrize(("value", "name"), [(2, "2"), (2.0, "2"), (-0.5, "-0.5"), (1e15, "1000000000000000")])
def test_a_class_is_called_by_its_number(value, name):
    assert number_name(value) == name
    assert to_number(name) == value


@pytest.mark.parametrize("text", ["a", "ü 😀", 'a,b"c', "=1+1", "x" * 250, "\u0928\u200d"])
def test_a_name_may_hold_anything_within_a_line(text):
    assert is_name(text)


@pytest.mark.parametrize("text", ["", " ", " a", "a ", "a\nb", "a\rb", "a\tb", "a\0", "\u2028x", "a\udcffb", "x" * 251])
def test_a_name_stays_within_a_line(text):
    assert not is_name(text)


def test_what_is_no_text_is_named(table, tmp_path):
    path = table("a,b\n")
    path.write_bytes(b"\xff\xfe\x00\x01")
    expected = {path: "UTF-16", tmp_path / "absent.csv": "no such file", tmp_path: "got a folder"}
    for wrong, message in expected.items():
        with pytest.raises(ValueError, match=f"^{wrong}: .*{message}"):
            read_numbers(wrong, ("a",), ",")


def test_lines_end_in_a_line_feed(tmp_path):
    write_lines(tmp_path / "deep" / "file.txt", ["a", "b"])
    assert (tmp_path / "deep" / "file.txt").read_bytes() == b"a\nb\n"
