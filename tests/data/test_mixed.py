"""Tables whose columns hold anything: what is read, and what is refused, by file and line."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from pushforward._errors import DataError
from pushforward.data.mixed import read_mixed

TEXT = "age,city,kids,zip\n40.5,Paris,2,01234\n,Rome,,99999\n31,NA,0,10000\n"


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str, name: str = "a.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_numbers_words_and_holes(write):
    frame, whole, note = read_mixed(write(TEXT), words=["zip"])
    assert (frame.names, whole, note) == (("age", "city", "kids", "zip"), ("kids",), "")
    np.testing.assert_array_equal(frame.cells[0], [40.5, np.nan, 31])
    assert frame.cells[1].tolist() == ["Paris", "Rome", None]
    np.testing.assert_array_equal(frame.cells[2], [2, np.nan, 0])
    assert frame.cells[3].tolist() == ["01234", "99999", "10000"]


def test_whole_numbers_are_whole_only_as_they_are_written(write):
    assert read_mixed(write("a,b,c\n1,1.0,-1\n+2,2,2\n"))[1] == ("a", "c")


def test_delimiters_compression_and_a_choice_of_columns(write, tmp_path):
    packed = tmp_path / "b.tsv.gz"
    packed.write_bytes(gzip.compress(TEXT.replace(",", "\t").encode()))
    frame, _, _ = read_mixed(packed, columns=["kids", "city"])
    assert frame.names == ("kids", "city")
    assert read_mixed(write("1;x\n2;y\n"))[0].names == ("c0", "c1")  # no header


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    table = pa.table({"n": [1, 2, None], "x": [0.5, None, 2.0], "w": ["a", None, "b"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    frame, whole, _ = read_mixed(tmp_path / "a.parquet")
    assert whole == ("n",)
    assert frame.cells[2].tolist() == ["a", None, "b"]
    np.testing.assert_array_equal(frame.cells[1], [0.5, np.nan, 2.0])


@pytest.mark.parametrize(("text", "message"), [
    ("a,b\n1,x\n2,y\nzwei,z\n", r"1 bad of 3 in a\.csv: a\.csv:4 \(a is 'zwei'\).*bad_rows='skip'"),
    ("a,b\n1,2\n1,2,3\n", r"a\.csv:3 \(3 fields instead of 2\)"),
    ("a,b\ninf,2\n1,2\n", r"a\.csv:2 \(a is 'inf'\)"),
    ("a;b\n1,5;x\n2;y\n-,25;z\n", r"2 bad of 3 in a\.csv: a\.csv:2 \(a is '1,5'\)"),
    ("a;b\n1,5;x\n2,0;y\n-,25;z\n", r"numbers with a decimal point; got '1,5' in column 'a' of a\.csv. Write 1\.5"),
    ("a,b\n", "only a header"),
    ("\n\n", "only empty lines"),
    ("", "which is empty"),
])  # fmt: skip
def test_what_is_wrong_is_named(write, text, message):
    with pytest.raises(DataError, match=message):
        read_mixed(write(text))


def test_words_with_commas_are_words(write):
    text = "a;b\n1,5;x\n2,0;y\n"
    assert read_mixed(write(text), words=["a"])[0].cells[0].tolist() == ["1,5", "2,0"]
    assert read_mixed(write('a,b\n"Doe, J",1\n"2,0",2\n'))[0].cells[0].tolist() == ["Doe, J", "2,0"]


def test_names_that_stand_twice_are_refused(write):
    """A dictionary of columns would keep one of the two."""
    with pytest.raises(DataError, match="names of their own; got 'a' twice"):
        read_mixed(write("a,a,b\n1,2,3\n"))
    assert read_mixed(write("a,a,b\n1,2,3\n"), ["b"])[0].names == ("b",)


def test_bad_rows_are_left_out_on_request(write):
    frame, whole, note = read_mixed(write("a,b\n1,x\n2,y\nzwei,z\n4\n5,v\n"), bad_rows="skip")
    assert (frame.cells[0].tolist(), whole, note) == ([1, 2, 5], ("a",), "2 of 5 skipped as bad.")


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(DataError, match="which is not one"):
        read_mixed(tmp_path / "none.csv")
