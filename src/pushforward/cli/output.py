"""Samples as files: a picture to look at, an array to compute with, a table to open anywhere.

    .png   images on a grid, enlarged by a whole factor; two-dimensional points as a scatter
    .npz   `samples` [n, *shape] in the data's units (uint8 for images), `labels`, `columns`
    .csv   one row per sample under the table's own column names

A file is written beside its place and then moved there, so that what stood there is lost only to a whole successor.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward._durable import replacing
from pushforward._errors import ConfigError, explain
from pushforward.cli.units import Units

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".npz", ".csv")


def check_output(path: Path, units: Units) -> None:
    """Refuse, before anything is computed, what could not be written.

    Raises:
        ConfigError: another kind of file, or a picture of what is no picture.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(explain("--out to end in .png, .npz or .csv", repr(str(path)), "Rename it."))
    if path.suffix.lower() == ".png" and units.events != "image" and units.shape != (2,):
        fix = "Write a .csv or an .npz."
        raise ConfigError(explain("images, or points with two coordinates, for a .png", f"{units.shape}", fix))
    if path.is_dir():
        raise ConfigError(explain("--out to be a file", f"the folder {str(path)!r}", "Add a file name."))


def write_samples(path: Path, values: "torch.Tensor", units: Units, labels: "torch.Tensor | None" = None) -> None:
    """Write samples, in the data's units, as what the file's name asks for."""
    writers: dict[str, Callable[..., None]] = {".png": _png, ".npz": _npz, ".csv": _csv}
    with replacing(path) as part:
        writers[path.suffix.lower()](part, values, units, labels)


def write_picture(path: Path, figure: "Figure") -> None:
    """Write a drawing as a .png."""
    with replacing(path) as part:
        figure.savefig(part, dpi=150)


def default_output(run: Path, units: Units) -> Path:
    """Where samples go if nobody says: a picture where the data are pictures, else a table."""
    if units.events == "image":
        return run / "samples.png"
    return run / ("samples.csv" if len(units.shape) == 1 else "samples.npz")


def _npz(path: Path, values: "torch.Tensor", units: Units, labels: "torch.Tensor | None") -> None:
    import numpy as np

    arrays: dict[str, Any] = {"samples": values.numpy()}
    if labels is not None:
        arrays["labels"] = labels.numpy()
    if units.columns:
        arrays["columns"] = np.array(units.columns)
    np.savez_compressed(path, **arrays)


def _csv(path: Path, values: "torch.Tensor", units: Units, labels: "torch.Tensor | None") -> None:
    flat = values.flatten(1)
    names = list(units.columns) or [f"x{i}" for i in range(flat.shape[1])]
    rows = flat.tolist() if not values.is_floating_point() else [[f"{v:.9g}" for v in row] for row in flat.tolist()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names if labels is None else [*names, "label"])
        for i, row in enumerate(rows):
            writer.writerow(row if labels is None else [*row, units.labels[int(labels[i])]])


def _png(path: Path, values: "torch.Tensor", units: Units, labels: "torch.Tensor | None") -> None:
    if units.events != "image":
        return _scatter(path, values, units)
    from PIL import Image

    _, channels, height, width = values.shape
    columns = round(len(values) ** 0.5 + 0.499)
    rows = -(-len(values) // columns)
    top = (units.levels or 256) - 1
    tiles = (values.double() * (255 / top)).round().clamp(0, 255).byte()
    grid = tiles.new_zeros(rows * columns, channels, height + 1, width + 1)
    grid[: len(values), :, :height, :width] = tiles
    grid = grid.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)[:-1, :-1]
    array = grid.numpy()
    picture = Image.fromarray(array[..., 0] if channels == 1 else array[..., :3])
    factor = max(1, 512 // max(picture.size))
    picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST).save(path)
    return None


def _scatter(path: Path, values: "torch.Tensor", units: Units) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(*values.double().T.numpy(), s=max(0.5, min(8, 4000 / len(values))), linewidths=0)
    axes.set(xlabel=(units.columns or ("x0", "x1"))[0], ylabel=(units.columns or ("x0", "x1"))[1])
    if not units.columns:
        axes.set_aspect("equal")
    figure.savefig(path, dpi=120)
