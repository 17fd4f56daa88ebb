"""The data set that comes with the package: 1,797 hand-written digits of 8x8 pixels and 17 levels.

The file holds its source and licence (CC BY 4.0), its rows are in a fixed shuffled order, and the split is
part of the file: 1,437 images to train on, then 360 held out, the same share of every class. Model units are

    x = (v + u) / 17 * 2 - 1   in [-1, 1),     v in 0..16,   u ~ U[0, 1).
"""

from importlib.resources import files

import numpy as np
import torch

from pushforward.data.dataset import Dataset
from pushforward.data.scaling import Scaling

_TRAIN, _LEVELS = 1437, 17


def digits() -> Dataset:
    """Hand-written digits, 1x8x8, with their classes as context. Needs no download.

    References:
        Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998, doi 10.24432/C50P49.

    >>> digits()
    <Dataset digits: 1,437 + 360 images, 1x8x8, 17 levels, 10 classes>
    """
    with (
        (files("pushforward.data") / "digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):
        images = torch.from_numpy(stored["images"])[:, None]
        labels = torch.from_numpy(stored["labels"].astype(np.int64))
        source = str(stored["source"])
    return Dataset(
        name="digits",
        kind="image",
        values=images[:_TRAIN],
        held_out=images[_TRAIN:],
        scaling=Scaling(offset=-1.0, scale=2 / _LEVELS, levels=_LEVELS),
        context=labels[:_TRAIN],
        held_out_context=labels[_TRAIN:],
        labels=tuple(map(str, range(10))),
        source=source,
    )
