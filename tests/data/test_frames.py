"""Data frames: what their columns hold is read from the types they came with, and what comes out is as what came in."""

import datetime

import numpy as np
import pytest

from pushforward._errors import DataError
from pushforward.data.column_kinds import Categorical, Integer, Real
from pushforward.data.frames import cells, frame, kinds, numbers

HOLES = [1, 2, None, 4]


def kind_of(column, **declared):
    return kinds(frame({"a": column}), declared)[0]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (HOLES, Integer(0)),
        ([-3, None, 2], Integer(None)),
        ([np.int64(1), None], Integer(0)),
        ([1, 2.5, None], Real()),
        ([None, None], Real()),
        (np.array([1.0, np.nan, 4.0]), Integer(0)),
        (np.array([1.5, np.nan, 4.0]), Real()),
        (np.array([1.0, 2.0, 4.0]), Real()),
        ([True, None, False], Categorical((False, True))),
    ],
)
def test_whole_numbers_with_holes_are_whole(column, kind):
    assert kind_of(column) == kind


def test_what_is_declared_holds():
    assert kind_of(HOLES, a="real") == Real()
    assert kinds(frame(np.array([[1.0], [np.nan], [4.0]])), {}) == (Real(),)  # one type for all: it says nothing


def test_the_types_of_a_data_frame_say_what_columns_hold():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    zips = [10115, 20095, 80331, None]
    assert kind_of(pd.array(HOLES, dtype="Int64")) == Integer(0)
    assert kind_of(pd.Series(HOLES)) == Integer(0)  # floats, as pandas writes them
    assert kind_of(pd.array([1.0, None, 2.5], dtype="Float64")) == Real()
    assert kind_of(pd.array([1.0, 2.0, 4.0], dtype="Float64")) == Real()
    assert kind_of(pd.Categorical(zips)) == Categorical((10115, 20095, 80331))
    assert kind_of(pd.Series(zips, dtype="category")) == Categorical((10115, 20095, 80331))
    assert kind_of(pd.Series(["x", None, "y"])) == Categorical(("x", "y"))


def test_a_table_comes_out_with_the_index_and_the_types_that_can_hold_it():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pd.DataFrame({
        "whole": pd.array([1, 2, None], dtype="Int64"), "small": np.array([1, 2, 3], dtype=np.int8),
        "kind": pd.Categorical([7, 8, 7]), "floats": [1.0, np.nan, 2.0], "short": np.ones(3, np.float32),
    }, index=["x", "y", "z"])  # fmt: skip
    columns = tuple(map(np.array, ([5, 2, 4], [1, 200, 3], [7, 7, 8], [1, 3, 2], [0.1, 0.2, 0.3])))
    made = frame(table).like(columns)
    assert list(made.index) == ["x", "y", "z"]
    assert [str(dtype) for dtype in made.dtypes] == ["Int64", "int64", "category", "float64", "float64"]
    for name, column in zip(table.columns, columns):
        assert made[name].tolist() == column.tolist()
    assert list(frame(table).empty().like(columns).index) == [0, 1, 2]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": [1, 2], "b": [1]}, r"one length.*column 'b' of shape \(1,\)"),
        ({"a": np.ones((2, 2))}, "a value in each row"),
        ({"a": 1.0}, "a value in each row"),
        ({}, r"0 feature\(s\)"),
    ],
)
def test_what_is_no_table_is_refused(table, message):
    with pytest.raises(DataError, match=message):
        frame(table)


def test_names_that_stand_twice_are_refused():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    with pytest.raises(DataError, match="'a' twice or more"):
        frame(pd.DataFrame(np.ones((3, 3)), columns=["a", "b", "a"]))


def test_a_sparse_table_is_refused_even_where_it_is_a_mapping():
    sparse = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    for made in (sparse.dok_array((3, 2)), sparse.csr_matrix((3, 2))):
        with pytest.raises(DataError, match=r"a sparse .*Call its toarray\(\)"):
            frame(made)


@pytest.mark.parametrize("declared", [{}, {"when": "real"}, {"when": "integer"}])
@pytest.mark.parametrize(
    ("column", "found"),
    [
        ([datetime.date(2020, 1, day) for day in (1, 2, 3)], "values of the type date"),
        ([datetime.datetime(2020, 1, day, tzinfo=datetime.UTC) for day in (1, 2, 3)], "values of the type datetime"),
        ([1.0, None, datetime.time(3)], "values of the type time"),
        (np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[D]"), "dates"),
        ([(1, 2), (3, 4), (5, 6)], "values of the type tuple"),
        (np.array([1j, 2.0, 3.0]), "complex ones"),
        ([10**400, 1.5, 2.5], "too large"),
    ],
)
def test_what_is_no_number_is_named_with_its_column(column, found, declared):
    cells = column if isinstance(column, np.ndarray) else np.fromiter(column, dtype=object)
    given = frame({"a": np.ones(3), "when": cells})
    with pytest.raises(DataError, match=rf"^Expected numbers in column 'when'; got .*{found}"):
        numbers(given, kinds(given, declared))


def test_moments_of_a_time_zone_are_named_with_their_column():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    given = frame(pd.DataFrame({"a": [1.0, 2.0], "when": pd.date_range("2020-01-01", periods=2, tz="UTC")}))
    with pytest.raises(DataError, match=r"column 'when'; got values of the type Timestamp\. Turn them into numbers"):
        numbers(given, kinds(given, {}))


def test_whole_numbers_beyond_those_of_a_machine_stay_what_they_are():
    """As int64 1e19 was -9223372036854775808."""
    assert cells(np.array([[1e19], [2.0]]), (Integer(0),))[0].tolist() == [1e19, 2.0]
    assert cells(np.array([[1e9], [2.0]]), (Integer(0),))[0].dtype == np.int64


def test_numbers_among_words_are_the_words_they_are_written_as():
    """A file's words come back from pandas as numbers and truth values: they were strangers, of density 0."""
    kind = Categorical(("75001", "False", "True"))
    given = frame({"a": np.array([True, np.False_, 75001, 75001.0, "True", 2, None], dtype=object)})
    assert numbers(given, (kind,))[:6, 0].tolist() == [2, 1, 0, 0, 2, -1]
