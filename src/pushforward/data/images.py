"""Folders of images: the sub-folder is the class.

    folder/cat/1.png, folder/dog/7.jpg      two classes
    folder/1.png, folder/2.png              no classes
    folder/train/..., folder/test/...       either of these, with a split of its own

Every image becomes bytes [channels, height, width]: one channel if all are grey, else three; transparent
parts become white; the camera's turn is undone. Nothing larger than 2**26 pixels is decoded, so a small file
that unpacks to gigabytes is refused from its header.

Files come class by class. Where what follows takes rows as they stand (parts that are given, and sets too large for
`from_array` to shuffle) they are shuffled here, so that the first of them, and those held out, are of every class.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward.data.arrays import from_array, from_parts
from pushforward.data.blocks import LARGE
from pushforward.data.dataset import Dataset
from pushforward.data.faults import BadRows, Places, check_bad_rows, faulty, judge, reading
from pushforward.data.scaling import Scaling

SUFFIXES = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"])
_TESTS = ("test", "val", "valid", "validation")
_LARGEST_IMAGE = 2**26
_LARGEST_SET = 2**32


def open_images(
    path: Path,
    *,
    size: int | None = None,
    held_out: float = 0.2,
    bad_rows: BadRows = "error",
    seed: int = 0,
    scaling: Scaling | None = None,
) -> Dataset:
    """A data set from a folder of images.

    Args:
        path: the folder.
        size: crop to the central square and resize to this side; by default images must agree in size.
        held_out: which share is held out where the folder has no train and test of its own.
        bad_rows: "error", or "skip" to leave unreadable images out.
        seed: of that split, and of the order.
        scaling: of another data set, as in `from_array`: one image is then enough.

    Raises:
        DataError: no images, unreadable ones, mixed sizes, too many to hold in memory.
    """
    check_bad_rows(bad_rows)
    if size is not None and not 1 <= size <= 4096:
        raise ConfigError(explain("a side from 1 to 4096 pixels", f"size={size}", "Choose 32 or 64, say."))
    name = path.resolve().name
    with reading(path, "a folder of images"):
        inside = {entry.name.lower(): entry for entry in sorted(path.iterdir()) if entry.is_dir()}
    test = next((inside[part] for part in _TESTS if part in inside), None)
    if test is None or "train" not in inside:
        found, order = _read(path, size, bad_rows), None
        if found.pixels.nbytes > LARGE:
            found, order = found.shuffled(Draw(seed, "images"))
        told: dict[str, Any] = {
            "name": name,
            "source": f"Images of {path.name}. {found.note}".strip(),
            "places": found.places,
        }
        data = from_array(found.pixels, found.classes, held_out=held_out, seed=seed, scaling=scaling, **told)
        return data if order is None else replace(data, split=torch.from_numpy(order))
    found, order = _read(inside["train"], size, bad_rows).shuffled(Draw(seed, "images"))
    other, behind = _read(test, size, bad_rows).shuffled(Draw(seed, "images/held out"))
    source = " ".join(f"Images of {path.name}, held out: {test.name}. {found.note} {other.note}".split())
    pixels = _same_channels(found.pixels, other.pixels)
    data = from_parts(*pixels, found.classes, other.classes, name=name, source=source, places=found.places)
    return replace(data, split=torch.from_numpy(np.concatenate([order, len(order) + behind])))


def has_images(path: Path) -> bool:
    """Whether an image lies in the folder or below it."""
    return any(file.suffix.lower() in SUFFIXES for file in path.rglob("*"))


class _Found(NamedTuple):
    """All images of a folder [n, h, w] or [n, h, w, 3], their classes and files, and what was skipped."""

    pixels: np.ndarray
    classes: np.ndarray | None
    places: Places
    note: str

    def shuffled(self, draw: Draw) -> "tuple[_Found, np.ndarray]":
        """The same in another order, and where each stood."""
        order = draw.permutation(len(self.pixels)).numpy()
        classes = None if self.classes is None else self.classes[order]
        return self._replace(pixels=self.pixels[order], classes=classes, places=self.places.some(order)), order


def _read(path: Path, size: int | None, bad_rows: BadRows) -> _Found:
    """The images of a folder in the order of their names."""
    from PIL import Image, UnidentifiedImageError

    files = _files(path)
    kept: list[np.ndarray] = []
    good: list[Path] = []
    bad: list[str] = []
    for file in files:
        try:
            kept.append(decode(file, size))
            good.append(file)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            reason = "not an image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
            bad.append(f"{file.relative_to(path)} ({reason})")
        if len(kept) == 1 and kept[0].size * len(files) > _LARGEST_SET:
            got = f"{len(files):,} of {kept[0].shape[1]}x{kept[0].shape[0]} pixels in {path}"
            raise faulty("images that fit in 4 GiB as bytes", got, "Pass a smaller size=, or use fewer.")
    note = judge(bad, len(bad), len(files), str(path), bad_rows, expected="readable images")
    _check_sizes(kept, good, path)
    colour = any(image.ndim == 3 for image in kept)
    images = np.stack([_coloured(image) if colour and image.ndim == 2 else image for image in kept])
    flat = all(file.parent == path for file in good)
    names = [file.relative_to(path) for file in good]
    places = Places("", np.array([f"{path.name}/{name.as_posix()}" for name in names]))
    return _Found(images, None if flat else np.array([name.parts[0] for name in names]), places, note)


def _files(path: Path) -> list[Path]:
    """The images of a folder in the order of their names; hidden files are passed over."""
    inside = [file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")]
    files = sorted(file for file in inside if file.suffix.lower() in SUFFIXES)
    if not files:
        found = ", ".join(sorted({file.suffix or file.name for file in inside})[:5]) or "nothing"
        raise faulty("a folder of images", f"'{path}' with {found}", f"Images end in {', '.join(sorted(SUFFIXES))}.")
    direct = [file for file in files if file.parent == path]
    if direct and len(direct) < len(files):
        got = f"{len(direct)} directly in '{path}' and {len(files) - len(direct)} in its sub-folders"
        raise faulty("images either in one folder or in a sub-folder per class", got, "Move them.")
    return files


def decode(file: Path | BinaryIO, size: int | None) -> np.ndarray:
    """One image as bytes, [h, w] if grey, else [h, w, 3]."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, milder, limit on pixels; ours follows
        with Image.open(file) as image:
            if image.width * image.height > _LARGEST_IMAGE:
                raise ValueError(f"{image.width}x{image.height} is more than {_LARGEST_IMAGE:,} pixels")
            if image.mode.startswith(("I", "F")):
                raise ValueError("more than 8 bits per channel")
            picture = ImageOps.exif_transpose(image)
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            picture = picture.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    return np.asarray(picture if size is None else ImageOps.fit(picture, (size, size), Image.Resampling.BOX))


def _check_sizes(images: Sequence[np.ndarray], files: Sequence[Path], path: Path) -> None:
    sizes = Counter(image.shape[:2] for image in images)
    if len(sizes) > 1:
        usual = sizes.most_common(1)[0][0]
        odd = [(file, image) for file, image in zip(files, images, strict=True) if image.shape[:2] != usual]
        shown = ", ".join(f"{f.relative_to(path)} is {i.shape[1]}x{i.shape[0]}" for f, i in odd[:10])
        got = f"{usual[1]}x{usual[0]} and {len(odd):,} others in {path.name}: {shown}"
        raise faulty("images of one size", got, f"Pass size={min(usual)} to crop and resize them.")


def _coloured(image: np.ndarray) -> np.ndarray:
    """Grey pixels [..., h, w] as three equal channels [..., h, w, 3]."""
    return np.repeat(image[..., None], 3, -1)


def _same_channels(images: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both parts grey, or both in colour."""
    if images.ndim == others.ndim:
        return images, others
    return (_coloured(images), others) if images.ndim == 3 else (images, _coloured(others))
