"""Samples come back in the units of the data, whatever the file."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pushforward import _config
from pushforward._errors import ConfigError, RunError
from pushforward.cli.output import check_output, default_output, write_samples
from pushforward.cli.units import Units, read_units, units_of, write_units
from pushforward.data import Dataset, Scaling, digits

TABLE = Units("a.csv", "a", "table", (2,), (1.0, -2.0), (0.5, 4.0), columns=("age, years", "income"))
IMAGE = Units("digits", "digits", "image", (1, 2, 3), (-1.0,), (2 / 17,), levels=17, labels=("zero", "one"))


def test_values_undo_the_scaling() -> None:
    raw = torch.tensor([[3.0, 5.0], [-1.5, 0.25]], dtype=torch.float64)
    x = raw * torch.tensor([0.5, 4.0]) + torch.tensor([1.0, -2.0])
    torch.testing.assert_close(TABLE.values(x), raw)


def test_the_units_of_a_data_set_are_its_scaling() -> None:
    values = torch.randn(5, 3)
    scaling = Scaling(offset=torch.tensor([1.0, 2.0, 3.0]), scale=torch.tensor([0.5, 1.0, 2.0]))
    data = Dataset("a", "table", values, values[:1], scaling, columns=("x", "y", "z"))
    units = units_of(data, "a.csv")
    torch.testing.assert_close(units.values(scaling.to_model(values)).float(), values)
    assert units.columns == ("x", "y", "z")


@pytest.mark.parametrize("conditional", [True, False])
def test_the_digits_come_back_as_they_are(conditional: bool) -> None:
    data = digits()
    units = units_of(data, "digits", conditional=conditional)
    x = data.scaling.to_model(data.values[:50], torch.rand(50, 1, 8, 8))
    assert torch.equal(units.values(x), data.values[:50])
    assert units.labels == (data.labels if conditional else ())


@pytest.mark.parametrize("units", [TABLE, IMAGE, units_of(digits(), "digits")], ids=["table", "image", "digits"])
def test_units_survive_their_file(units: Units, tmp_path: Path) -> None:
    write_units(units, tmp_path)
    assert read_units(tmp_path) == units
    assert "kind" not in _config.to_table(units)


def test_a_folder_without_units_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no data\.toml"):
        read_units(tmp_path)


def test_an_array_holds_values_labels_and_columns(tmp_path: Path) -> None:
    pixels = torch.arange(12, dtype=torch.uint8).view(2, 1, 2, 3)
    write_samples(tmp_path / "a.npz", pixels, IMAGE, torch.tensor([1, 0]))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert stored["samples"].dtype == np.uint8
        assert np.array_equal(stored["samples"], pixels.numpy())
        assert stored["labels"].tolist() == [1, 0]
    write_samples(tmp_path / "b.npz", torch.ones(3, 2), TABLE)
    with np.load(tmp_path / "b.npz", allow_pickle=False) as stored:
        assert stored["columns"].tolist() == ["age, years", "income"]


def test_a_table_has_its_own_header_and_all_digits(tmp_path: Path) -> None:
    values = torch.tensor([[1.25, 123456.789], [-3e-7, 2.0]], dtype=torch.float64)
    write_samples(tmp_path / "a.csv", values, TABLE)
    with (tmp_path / "a.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["age, years", "income"]
    torch.testing.assert_close(torch.tensor([[float(v) for v in row] for row in rows]).double(), values)


def test_a_table_of_levels_has_whole_numbers_and_the_class_by_name(tmp_path: Path) -> None:
    pixels = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3)
    write_samples(tmp_path / "a.csv", pixels, IMAGE, torch.tensor([1]))
    assert (tmp_path / "a.csv").read_text().splitlines() == ["x0,x1,x2,x3,x4,x5,label", "0,1,2,3,4,5,one"]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_shows_every_image_in_its_place(channels: int, tmp_path: Path) -> None:
    units = Units("a", "a", "image", (channels, 2, 3), levels=256)
    pixels = torch.randint(0, 256, (5, channels, 2, 3), dtype=torch.uint8)
    write_samples(tmp_path / "a.png", pixels, units)
    with Image.open(tmp_path / "a.png") as image:
        factor = image.width // (3 * 3 + 2)
        shown = np.asarray(image.resize((image.width // factor, image.height // factor), Image.Resampling.NEAREST))
    shown = shown.reshape(*shown.shape[:2], channels)
    for i, each in enumerate(pixels):
        top, left = 3 * (i // 3), 4 * (i % 3)
        assert np.array_equal(shown[top : top + 2, left : left + 3], each.permute(1, 2, 0).numpy())


def test_points_are_scattered(tmp_path: Path) -> None:
    units = Units("moons", "moons", "points", (2,))
    write_samples(tmp_path / "a.png", torch.tensor([[0.0, 0.0], [1.0, 1.0]]), units)
    with Image.open(tmp_path / "a.png") as image:
        grey = np.asarray(image.convert("L"))
    assert (grey < 200).any()


def test_what_stood_there_is_lost_only_to_a_whole_successor(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("precious\n")
    broken = Units("a", "a", "table", (2,), labels=("one",))
    with pytest.raises(IndexError):
        write_samples(path, torch.ones(1, 2), broken, torch.tensor([7]))
    assert path.read_text() == "precious\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("name", "units", "message"),
    [
        ("a.jpg", IMAGE, "end in .png, .npz or .csv"),
        ("a", IMAGE, "end in .png, .npz or .csv"),
        ("a.png", Units("a", "a", "table", (3,)), "Write a .csv"),
        ("folder.png", IMAGE, "Add a file name"),
    ],
)
def test_what_cannot_be_written_is_refused_first(name: str, units: Units, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match=message):
        check_output(tmp_path / name, units)


def test_the_default_fits_the_data() -> None:
    run = Path("runs/a")
    names = [default_output(run, units).name for units in (IMAGE, TABLE, Units("a", "a", "array", (2, 3)))]
    assert names == ["samples.png", "samples.csv", "samples.npz"]
