import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from pushforward._errors import ConfigError, DataError, ShapeError
from pushforward._random import Draw
from pushforward.data import Dataset, Scaling, arrays, blocks, digits, from_array, from_parts, open_data


def test_uniform_density_on_the_cube_costs_log2_of_the_levels():
    data = digits()
    uniform = torch.full((3,), -64 * math.log(2.0))
    assert_close(data.bits_per_dim(uniform), torch.full((3,), math.log2(17)))


def test_bits_per_dim_of_a_table_are_in_raw_units():
    values = np.random.default_rng(0).normal(0, 8.0, (500, 1))
    data = from_array(values)
    x = data.held_out_batch(Draw(0)).x
    log_prob = -x.square().sum(1) / 2 - math.log(2 * math.pi) / 2
    std = values.std()
    raw = 0.5 * math.log2(2 * math.pi * math.e * std**2)
    assert data.bits_per_dim(log_prob).mean().item() == pytest.approx(raw, abs=0.2)


def test_levels_are_spread_over_their_whole_cell():
    data = digits()
    x = data.train_batch(Draw(0)).x
    u = (x + 1) * 17 / 2 - data.values
    assert u.min() > -1e-5
    assert u.max() < 1 + 1e-5
    assert u.mean().item() == pytest.approx(0.5, abs=0.01)
    assert u.var().item() == pytest.approx(1 / 12, abs=0.001)


def test_digits_are_those_of_scikit_learn_split_by_class():
    sklearn = pytest.importorskip("sklearn.datasets")
    known, data = sklearn.load_digits(), digits()
    theirs = sorted(map(tuple, np.column_stack([known.target, known.data]).astype(int).tolist()))
    ours = torch.cat([data.values, data.held_out]).flatten(1).int()
    labels = torch.cat([data.context, data.held_out_context]).int()
    assert sorted(map(tuple, torch.cat([labels[:, None], ours], 1).tolist())) == theirs


def test_any_first_rows_of_the_digits_are_a_fair_sample():
    """Reports compare with the first n rows, so no class may be over-represented among them."""
    data = digits()
    for context in (data.context, data.held_out_context):
        for n in (60, 120, 240):
            counts = torch.bincount(context[:n], minlength=10)
            assert ((counts - n / 10).square() / (n / 10)).sum() < 27.9  # chi-square of 9 degrees of freedom, p = 0.001


def test_unlabelled_drops_the_classes_and_nothing_else():
    data = digits()
    bare = data.unlabelled()
    assert bare.context is None
    assert bare.held_out_context is None
    assert bare.classes == 0
    assert next(bare.batches(4, Draw(0))).context is None
    assert torch.equal(bare.values, data.values)
    assert data.classes == 10


def test_digits_hold_out_the_same_share_of_every_class_and_name_their_licence():
    data = digits()
    held = data.held_out_context.bincount()
    every = held + data.context.bincount()
    assert every.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    share = held / every
    assert (share - 360 / 1797).abs().max() < 0.004
    assert "CC BY 4.0" in data.source
    assert "Alpaydin" in data.source


def test_the_split_loses_and_repeats_nothing_and_follows_the_seed():
    values = np.arange(200.0).reshape(100, 2)
    a, b = from_array(values), from_array(values, seed=1)
    assert sorted(torch.cat([a.values, a.held_out])[:, 0].tolist()) == values[:, 0].tolist()
    assert not torch.equal(a.held_out, b.held_out)
    assert len(from_array(values, held_out=0.07).held_out) == 7


def test_the_whole_has_the_order_of_its_source(tmp_path, monkeypatch: pytest.MonkeyPatch):
    values, words = np.arange(200.0).reshape(100, 2), np.array(["b", "a"] * 50)
    rows, classes = from_array(values, words).whole()
    assert torch.equal(rows, torch.from_numpy(values))
    assert classes.tolist() == [1, 0] * 50
    assert from_array(values).whole()[1] is None
    np.savetxt(tmp_path / "rows.csv", values, delimiter=",", header="a,b", comments="")
    assert torch.equal(open_data(tmp_path / "rows.csv").whole()[0], torch.from_numpy(values))
    parts = from_parts(values[:70], values[70:])
    assert torch.equal(parts.whole()[0], torch.from_numpy(values))
    monkeypatch.setattr(arrays, "LARGE", 0)
    assert torch.equal(from_array(values).whole()[0], torch.from_numpy(values))


def test_a_part_that_stands_class_by_class_is_mixed(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Its first rows stand for all of it: an .npz sorted by class had floors and likelihoods of the first class."""
    values, classes = np.arange(200.0).reshape(100, 2), np.arange(100) // 25
    np.savez(tmp_path / "a.npz", x_train=values, y_train=classes, x_test=values[::5], y_test=classes[::5])
    data = open_data(tmp_path / "a.npz")
    for rows, seen in ((data.values, data.context), (data.held_out, data.held_out_context)):
        assert set(seen[:12].tolist()) == {0, 1, 2, 3}
        assert torch.equal(rows[:, 0] // 50, seen.double())
    whole, seen = data.whole()
    assert torch.equal(whole, torch.from_numpy(np.concatenate([values, values[::5]])))
    assert seen.tolist() == [*classes, *classes[::5]]
    assert data.places.of(7) == f"a.npz:{1 + int(data.values[7, 0]) // 2}"
    monkeypatch.setattr(blocks, "LARGE", 0)
    monkeypatch.setattr(arrays, "LARGE", 0)
    assert torch.equal(open_data(tmp_path / "a.npz").values, torch.from_numpy(values))
    with pytest.warns(UserWarning, match="one class after the other"):
        from_array(values, classes)


def test_the_whole_passes_over_rows_that_were_skipped():
    values = np.arange(40.0).reshape(20, 2)
    values[3, 1] = np.nan
    rows, _ = from_array(values, bad_rows="skip").whole()
    assert torch.equal(rows, torch.from_numpy(np.delete(values, 3, 0)))


def test_statistics_come_from_the_training_rows_alone():
    values, far = np.random.default_rng(0).normal(size=(50, 2)), np.full((10, 2), 1e6)
    data = from_parts(values, far + np.arange(20).reshape(10, 2))
    x = data.train_batch(Draw(0)).x
    assert_close(x.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    assert_close(x.std(0, correction=0), torch.ones(2), atol=1e-6, rtol=0)


def test_large_offsets_keep_their_digits():
    stamps = 1.7e9 + np.arange(1000.0)[:, None]
    x = from_array(stamps).train_batch(Draw(0)).x
    assert len(x.unique()) == 800


def test_class_names_are_kept_with_their_numbers():
    words = np.array(["dog", "cat", "eel", "dog", "cat", "eel", "dog", "cat"])
    data = from_array(np.arange(16.0).reshape(8, 2), words)
    assert data.labels == ("cat", "dog", "eel")
    both, numbers = torch.cat([data.values, data.held_out]), torch.cat([data.context, data.held_out_context])
    for row, number in zip(both, numbers, strict=True):
        assert data.labels[number] == words[int(row[0]) // 2]


def test_a_class_that_only_one_part_has_still_gets_a_number():
    data = from_parts(np.arange(10.0), np.ones(1), np.arange(10) % 2, np.array([7]))
    assert data.labels == ("0", "1", "7")
    assert data.held_out_context.tolist() == [2]


def test_large_arrays_are_views_and_hold_out_their_last_rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arrays, "LARGE", 0)
    values = np.random.default_rng(0).normal(size=(50, 2))
    data = from_array(values)
    values[0, 0] = 77
    assert data.values[0, 0] == 77
    assert torch.equal(data.held_out, torch.from_numpy(values[40:]))


def test_statistics_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(0).normal(5, 3, size=(50, 4))
    whole = from_array(values).scaling
    monkeypatch.setattr(arrays, "_CHUNK", 12)
    parts = from_array(values).scaling
    assert_close(whole.scale, parts.scale)
    assert_close(whole.offset, parts.offset)


BAD_ARRAYS = {
    "one row": (lambda: from_array(np.ones((1, 3))), "got 1 row in array"),
    "nothing held out": (lambda: from_parts(np.arange(9.0), np.ones((0, 1))), "array (held out)"),
    "constant column": (
        lambda: from_array(np.column_stack([np.arange(9.0), np.ones(9)]), columns=["a", "b"]),
        "the same value in every training row of column 'b'",
    ),
    "constant array": (lambda: from_array(np.ones((9, 2, 2))), "the whole of array"),
    "not finite": (
        lambda: from_array(np.array([[1.0], [np.inf], [2], [3], [4], [5]])),
        "array:2 (not finite)",
    ),
    "complex": (lambda: from_array(np.ones((9, 2), complex)), "dtype complex128"),
    "words": (lambda: from_array(np.array(["a"] * 9)), "dtype <U1"),
    "a number": (lambda: from_array(np.array(3.0)), "a single number"),
    "five channels": (lambda: from_array(np.zeros((9, 5, 5, 5), np.uint8)), "shape (9, 5, 5, 5)"),
    "labels too few": (lambda: from_array(np.zeros((9, 2)), np.arange(8)), "for 9 rows"),
    "labels with fractions": (lambda: from_array(np.zeros((9, 2)), np.ones(9)), "float64"),
    "parts of two shapes": (
        lambda: from_parts(np.ones((9, 2)), np.ones((9, 3))),
        "(2,) to train on and (3,)",
    ),
    "labels of one part": (lambda: from_parts(np.ones((9, 2)), np.ones((9, 2)), np.arange(9)), "only one"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays_are_named(name: str):
    make, words = BAD_ARRAYS[name]
    with pytest.raises(DataError) as error:
        make()
    assert words in str(error.value)


def test_bad_shares_counts_and_parts_are_refused():
    rows, scaling = torch.ones(9, 2), Scaling()
    with pytest.raises(ConfigError, match=r"between 0 and 1; got 1\.5"):
        from_array(np.ones((9, 2)), held_out=1.5)
    with pytest.raises(ConfigError, match="n from 1 to 360; got n=361"):
        digits().held_out_batch(Draw(0), 361)
    with pytest.raises(ShapeError, match=r"\(9, 2\) to train on and \(9, 1\)"):
        Dataset("bad", "points", rows, rows[:, :1], scaling)
    with pytest.raises(ShapeError, match="got 8 for 9 events"):
        Dataset("bad", "points", rows, rows, scaling, torch.ones(8), torch.ones(9))
    with pytest.raises(ShapeError, match="got none for 9 events"):
        Dataset("bad", "points", rows, rows, scaling, torch.ones(9))


def test_values_that_hide_all_others_are_told(recwarn):
    """One in 500 that is a million away: in units of the deviation the others lie within 1e-5."""
    rows = np.random.default_rng(0).normal(size=(500, 3))
    from_array(rows, columns=("a", "b", "c"))
    from_array(np.where(rows > 0, 0.0, rows))  # most of them in one place is another matter
    assert not recwarn.list
    rows[::50, 1] = 1e6
    with pytest.warns(UserWarning, match=r"values of one size in column 'b' of far; got a standard deviation of 1"):
        from_array(rows, name="far", columns=("a", "b", "c"))
