"""Recipes, small: they run from files to a figure, and what was killed goes on to the same bits."""

import gzip
import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest

from pushforward.training import engine

FOLDER = Path(__file__).parents[2] / "recipes"


def recipe(name):
    """A recipe as a module."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder like MNIST's: grey squares of 6 x 6, each of one brightness and some noise."""
    where, rng = tmp_path_factory.mktemp("mnist"), np.random.default_rng(0)
    for part, n in (("train", 80), ("t10k", 20)):
        images = rng.integers(0, 128, (n, 1, 1)) + rng.integers(0, 64, (n, 6, 6))
        packed = b"\0\0\x08\x03" + struct.pack(">3I", n, 6, 6) + images.astype(np.uint8).tobytes()
        (where / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(packed))
    return where


RECIPES = sorted(path.stem for path in FOLDER.glob("*_mnist.py") if path.stem != "on_mnist")
SMALL = ["--held-out=20", "--epochs=4", "--batch=15", "--layers=1", "--hidden=36", "--every=1", "--dropout=0.1"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_is_killed_goes_on_to_the_same_bits(name, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    module = recipe(name)
    options = [str(folder), *SMALL]
    whole = module.main(module.parser().parse_args([*options, f"--out={tmp_path / 'whole'}"]))
    assert "test" in capsys.readouterr().out
    advance = engine.Engine.advance

    def killed(self, step, *rest):
        if step == 10:
            raise KeyboardInterrupt
        return advance(self, step, *rest)

    monkeypatch.setattr(engine.Engine, "advance", killed)
    options = module.parser().parse_args([*options, f"--out={tmp_path / 'killed'}"])
    with pytest.raises(KeyboardInterrupt):
        module.main(options)
    monkeypatch.setattr(engine.Engine, "advance", advance)
    assert module.main(options) == whole
    assert np.isfinite(whole.value)
