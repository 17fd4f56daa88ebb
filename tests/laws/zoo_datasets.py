"""Every kind of data set, small. A new kind is one line and is held to every law."""

import numpy as np

from pushforward.data import digits, from_array
from pushforward.data.toys import TOYS


def _rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 2.0, shape)


def _pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


DATASETS = {
    "digits": digits,
    "table": lambda: from_array(_rows(53, 3), columns=["a", "b", "c"]),
    "labelled": lambda: from_array(_rows(53, 3), np.arange(53) % 4),
    "grey": lambda: from_array(_pixels(41, 5, 6)),
    "colour": lambda: from_array(_pixels(41, 5, 6, 3), np.array(["cat", "dog"] * 20 + ["cat"])),
    "series": lambda: from_array(_rows(31, 7, 2).astype(np.float32)),
    "counts": lambda: from_array(np.arange(60).reshape(30, 2)),
    **{name: lambda toy=toy: toy(n=100) for name, toy in TOYS.items()},
}
