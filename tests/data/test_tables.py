import gzip
from pathlib import Path

import numpy as np
import pytest

from pushforward._errors import DataError
from pushforward.data import open_data
from pushforward.data.tables import read_delimited

ROWS = [[i + 0.5, 2.0 * i, -(i**2)] for i in range(8)]
BODY = "".join(",".join(map(str, row)) + "\n" for row in ROWS)

GOOD = {
    "header": ("a.csv", "x,y,z\n" + BODY, ("x", "y", "z")),
    "no header": ("a.csv", BODY, ("c0", "c1", "c2")),
    "tabs": ("a.tsv", "x\ty\tz\n" + BODY.replace(",", "\t"), ("x", "y", "z")),
    "semicolons": ("a.csv", "x;y;z\n" + BODY.replace(",", ";"), ("x", "y", "z")),
    "byte order mark": ("a.csv", "\ufeffx,y,z\n" + BODY, ("x", "y", "z")),
    "windows": ("a.csv", ("x,y,z\n" + BODY).replace("\n", "\r\n"), ("x", "y", "z")),
    "blank lines": ("a.csv", "\n\nx,y,z\n\n" + BODY.replace("\n", "\n\n"), ("x", "y", "z")),
    "quotes": ("a.csv", '"x, in m",y,z\n' + BODY.replace("0.5,", '"0.5",'), ("x, in m", "y", "z")),
    "nameless column": ("a.csv", ",y,z\n" + BODY, ("c0", "y", "z")),
    "no last newline": ("a.csv", BODY[:-1], ("c0", "c1", "c2")),
}


@pytest.mark.parametrize("name", GOOD)
def test_tables_are_read_as_written(tmp_path: Path, name: str):
    file, content, columns = GOOD[name]
    (tmp_path / file).write_bytes(content.encode())
    table = read_delimited(tmp_path / file)
    assert table.columns == columns
    assert np.array_equal(table.values, np.array(ROWS))


def test_gzipped_tables_and_chosen_columns(tmp_path: Path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(("x,y,z\n" + BODY).encode()))
    table = read_delimited(path, ["z", 0])
    assert table.columns == ("z", "x")
    assert np.array_equal(table.values, np.array(ROWS)[:, [2, 0]])
    assert open_data(path, columns="y").columns == ("y",)


def test_a_hole_in_a_column_that_is_not_chosen_does_not_matter(tmp_path: Path):
    (tmp_path / "a.csv").write_text("x,word\n" + "".join(f"{i},w{i}\n" for i in range(9)))
    assert open_data(tmp_path / "a.csv", columns=["x"]).shape == (1,)


def test_bad_rows_can_be_skipped_and_are_counted(tmp_path: Path):
    (tmp_path / "a.csv").write_text("x,y\n" + "".join(f"{i},{i * i}\n" for i in range(20)) + "NA,3\n4\n5,six\n")
    data = open_data(tmp_path / "a.csv", bad_rows="skip")
    assert len(data) + len(data.held_out) == 20
    assert "3 of 23 skipped" in data.source


def test_all_bad_rows_are_named_by_line_the_first_ten_shown(tmp_path: Path):
    lines = [f"{i},{i}" for i in range(40)]
    lines[3], lines[7], lines[9] = "3,", "7", "9,nine"
    for i in range(20, 30):
        lines[i] = f"{i},nan"
    (tmp_path / "a.csv").write_text("x,y\n" + "\n".join(lines) + "\n")
    with pytest.raises(DataError) as error:
        open_data(tmp_path / "a.csv")
    said = str(error.value)
    for words in (
        "13 bad of 40",
        "a.csv:5 (y is missing",
        "a.csv:9 (1 field instead of 2)",
        "a.csv:11 (y is 'nine')",
    ):
        assert words in said
    assert said.count("; a.csv:") == 9
    assert "and 3 more" in said


BAD = {
    "empty": ("a.csv", b"", {}, "'a.csv', which is empty"),
    "blank": ("a.csv", b"\n\n\n", {}, "only empty lines"),
    "header only": ("a.csv", b"x,y\n", {}, "only a header"),
    "one row": ("a.csv", b"x,y\n1,2\n", {}, "got 1 row in a.csv"),
    "text column": ("a.csv", b"x,y\n" + b"1,cat\n" * 9, {}, "columns=['x']"),
    "only text": ("a.csv", b"x\n" + b"cat\n" * 9, {}, "no column of numbers"),
    "constant": ("a.csv", b"x,y\n" + b"".join(b"%d,5\n" % i for i in range(9)), {}, "column 'y' of a.csv"),
    "ragged": ("a.csv", b"x,y\n" + b"1,2\n" * 4 + b"1,2,3\n", {}, "a.csv:6 (3 fields instead of 2)"),
    "cut short": ("a.csv", b"x,y\n" + b"1,2\n" * 4 + b"1", {}, "a.csv:6 (1 field instead of 2)"),
    "infinite": ("a.csv", b"x,y\n" + b"1,2\n" * 4 + b"1,inf\n", {}, "a.csv:6 (y is missing or not finite)"),
    "latin-1": ("a.csv", b"x,y\n1,2\n3,\xe9\n", {}, "a.csv:3 with byte 0xe9 at column 3"),
    "utf-16": ("a.csv", BODY.encode("utf-16"), {}, "a.csv:1 with byte 0xff at column 1"),
    "gzip cut short": ("a.csv.gz", gzip.compress(BODY.encode())[:-12], {}, "cannot be read"),
    "no gzip": ("a.csv.gz", b"1,2\n3,4\n", {}, "Not a gzipped file"),
    "no such column": (
        "a.csv",
        b"x,y\n1,2\n",
        {"columns": ["z"]},
        "'z', which it does not have. It has 'x', 'y'",
    ),
    "no such number": ("a.csv", b"x,y\n1,2\n", {"columns": [2]}, "2, which it does not have"),
    "column twice": ("a.csv", b"x,y\n1,2\n", {"columns": ["x", 0]}, "0, which is chosen twice"),
    "ambiguous column": ("a.csv", b"x,x\n1,2\n", {"columns": ["x"]}, "more than once"),
    "no column": ("a.csv", b"x,y\n1,2\n", {"columns": []}, "an empty choice"),
    "mostly bad": ("a.csv", b"x,y\n1,2\n" + b"1,NA\n" * 9, {"bad_rows": "skip"}, "at most half"),
    "huge field": ("a.csv", b"x,y\n1," + b"9" * 200_000 + b"\n", {}, "field larger than field limit"),
    "parquet of noise": ("a.parquet", b"PAR1" + b"x" * 50, {}, "a parquet table"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    file, content, options, words = BAD[name]
    if file.endswith("parquet"):
        pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    Path(file).write_bytes(content)
    with pytest.raises(DataError) as error:
        open_data(file, **options)
    assert words in str(error.value)


def test_parquet_tables_with_holes_and_words(tmp_path: Path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    whole = [*range(7), None, 8, 9]
    parquet.write_table(
        pa.table({"x": [i / 2 for i in range(10)], "n": whole, "w": list("abcdefghij"), "b": [True, False] * 5}),
        path,
    )
    data = open_data(path, columns=["x", "b"])
    assert data.columns == ("x", "b")
    assert sorted(np.concatenate([data.values, data.held_out])[:, 0].tolist()) == [i / 2 for i in range(10)]
    with pytest.raises(DataError, match=r"text in column 'w' of a.parquet \(type string\).*columns=\['x', 'n', 'b'\]"):
        open_data(path)
    with pytest.raises(DataError, match=r"a.parquet:8 \(n is missing"):
        open_data(path, columns=["x", "n"])
    assert "1 of 10 skipped" in open_data(path, columns=["n"], bad_rows="skip").source


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"pip install 'pushforward\[parquet\]'"):
        open_data(tmp_path / "a.parquet")
