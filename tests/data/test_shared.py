"""Real files, where they lie beside the repository in `../shared/data`; see the README there."""

from pathlib import Path

import pytest

from pushforward._errors import DataError
from pushforward._random import Draw
from pushforward.data import open_data, text

SHARED = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="no folder ../shared/data beside the repository")


def test_mnist():
    data = open_data(SHARED / "mnist")
    assert data.describe() == "mnist: 60,000 + 10,000 images, 1x28x28, 256 levels, 10 classes"
    # the known mean of MNIST's pixels is 0.1307 of 255
    assert data.values.double().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert data.context[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.held_out_context[:5].tolist() == [7, 2, 1, 0, 4]


def test_california_housing():
    path = SHARED / "california_housing" / "housing.csv"
    with pytest.raises(DataError, match=r"text in column 'ocean_proximity' of housing.csv .*columns="):
        open_data(path)
    with pytest.raises(DataError, match=r"207 bad of 20,640 in housing.csv: housing.csv:184 .total_bedrooms"):
        open_data(path, columns=range(9))
    data = open_data(path, columns=range(9), bad_rows="skip")
    assert data.describe() == "housing: 16,346 + 4,087 rows, 9 columns"
    x = data.train_batch(Draw(0)).x
    assert x.mean(0).abs().max() < 1e-5
    assert (x.std(0) - 1).abs().max() < 1e-3


def test_protein_without_a_header():
    data = open_data(SHARED / "uci_protein" / "data.csv.gz")
    assert data.describe() == "data: 36,584 + 9,146 rows, 10 columns"
    assert data.columns[0] == "c0"


def test_points_by_name():
    assert open_data(SHARED / "points2d" / "shapes.npz", array="cat").shape == (2,)
    dozen = open_data(SHARED / "points2d" / "datasaurus_dozen.tsv", columns=["x", "y"])
    assert len(dozen) + len(dozen.held_out) == 13 * 142


def test_tinyshakespeare():
    plays = text(SHARED / "tinyshakespeare" / "input.txt")
    assert plays.describe() == "input: 1,003,855 + 111,539 characters, 65 tokens"
