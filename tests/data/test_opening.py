import os
from pathlib import Path

import pytest
import torch

from pushforward._errors import ConfigError, DataError
from pushforward._random import Draw
from pushforward.data import open_data
from pushforward.data.opening import BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_sets_open_by_name(name: str):
    assert torch.equal(open_data(name).values, BUILT_IN[name]().values)


@pytest.mark.parametrize("name", ["", " "])
def test_no_name_is_not_the_current_folder(name: str):
    """What a shell makes of a variable that is not set."""
    with pytest.raises(DataError, match="which names nothing"):
        open_data(name)


def test_a_path_of_a_built_in_name_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("moons").mkdir()
    assert open_data("moons").density is not None
    with pytest.raises(DataError, match="an empty one"):
        open_data("./moons")


BAD = {
    "typing error": ("digts", {}, DataError, "Did you mean 'digits'?"),
    "nothing like it": ("no/such/file.csv", {}, DataError, "Built in are checkerboard, digits"),
    "unknown kind": ("a.xyz", {}, DataError, "whose kind is not known by its name"),
    "gzipped archive": ("a.npz.gz", {}, DataError, "whose kind is not known by its name"),
    "text": ("a.txt", {}, DataError, "pushforward.data.text(path)"),
    "option of another kind": (
        "a.csv",
        {"size": 3},
        ConfigError,
        "size=3 for 'a.csv'. It takes columns, held_out",
    ),
    "option of a toy": ("moons", {"columns": ["x"]}, ConfigError, "It takes seed."),
    "option of digits": ("digits", {"seed": 1}, ConfigError, "It takes none."),
    "strange choice": ("a.csv", {"bad_rows": "drop"}, ConfigError, "'drop'"),
    "strange share": ("a.csv", {"held_out": 0.0}, ConfigError, "got 0.0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.chdir(tmp_path)
    for file in ("a.xyz", "a.txt", "a.npz.gz", "a.csv"):
        Path(file).write_text("1,2\n3,4\n5,7\n8,9\n3,1\n")
    asked, options, kind, words = BAD[name]
    with pytest.raises(kind) as error:
        open_data(asked, **options)
    assert words in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_unreadable_files_are_explained(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("1,2\n")
    path.chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        open_data(path)


def test_the_units_of_another_data_set(tmp_path: Path):
    """What only stands beside data that are learned from may be one row, and constant."""
    new = tmp_path / "new.csv"
    new.write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(20)))
    data = open_data(new)
    for name, text in (("one", "a,b\n3,9\n"), ("same", "a,b\n3,9\n3,9\n")):
        (tmp_path / f"{name}.csv").write_text(text)
        beside = open_data(tmp_path / f"{name}.csv", scaling=data.scaling)
        x = beside.train_batch(Draw(0)).x
        assert torch.allclose(x[0].double(), data.scaling.to_model(torch.tensor([3.0, 9.0], dtype=torch.float64)))
        with pytest.raises(DataError):
            open_data(tmp_path / f"{name}.csv")
    moons = open_data("moons", scaling=data.scaling)
    assert moons.scaling is data.scaling
    assert moons.density is None
    assert open_data("digits", scaling=data.scaling).scaling.levels == 17
