"""A model as a folder to share: the three files that model hubs know.

    config.json          the recipe, from the closed table of `_recipe`
    model.safetensors    the weights
    README.md            the model card
    manifest.json        sizes and SHA-256 of the first two

Nothing in the folder is code and nothing is pickled, so a stranger's folder is safe to open.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from pushforward import _config
from pushforward._durable import make, write_text
from pushforward._errors import RunError, explain
from pushforward._recipe import FORMAT_VERSION, KINDS, Recipe
from pushforward.models.model import Model
from pushforward.training.build import build, fitting_in
from pushforward.training.files import (
    MANIFEST,
    read_json,
    read_tensors,
    require_version,
    seal,
    unseal,
    verify,
    write_json,
    write_tensors,
)
from pushforward.training.weights import not_finite, put_weights, weights

_CONFIG: Final = "config.json"
_WEIGHTS: Final = "model.safetensors"


@dataclass(frozen=True, slots=True)
class _Folder:
    """What `config.json` says."""

    model: Recipe
    shape: tuple[int, ...]
    classes: int = 0
    data: str = ""
    library: str = "pushforward"
    format_version: int = FORMAT_VERSION


def save_folder(model: Model, path: str | os.PathLike[str], recipe: Recipe, classes: int = 0, data: str = "") -> Path:
    """Write a model as a folder that `load_folder` and model hubs understand.

    Args:
        model: whose weights are written.
        path: the folder; made if it does not exist. Its other files are left alone.
        recipe: how to build the model (`read_run(run).model` of a run folder).
        classes: how many classes its context counts.
        data: the name of its data set, for the card.

    Raises:
        RunError: the recipe builds a model with other weights, or a weight is not finite.
    """
    tensors = weights(model)
    _require_fit(recipe, model.shape, classes, tensors)
    bad = not_finite(tensors)
    if bad:
        raise RunError(explain("finite weights", f"{bad!r}, which is not", "Train again with a lower lr."))
    folder = Path(path)
    make(folder)
    unseal(folder)
    facts = _Folder(recipe, model.shape, classes, data)
    config = write_json(folder / _CONFIG, _config.to_table(facts, KINDS))
    written = write_tensors(folder / _WEIGHTS, tensors)
    write_text(folder / "README.md", _card(facts, sum(each.numel() for each in tensors.values())))
    seal(folder, {_CONFIG: config, _WEIGHTS: written})
    return folder


def load_folder(path: str | os.PathLike[str], device: str = "cpu") -> Model:
    """The model in a folder that `save_folder` wrote, ready to sample.

    A folder without `manifest.json` is read too, without its checksums.

    Args:
        path: the folder.
        device: where to put the model.

    Raises:
        RunError: it is missing, damaged, or of another version.
        ConfigError: its recipe is none that this library knows.
    """
    folder = Path(path)
    if not (folder / _CONFIG).is_file():
        got = f"{str(folder)!r}, which {'has no ' + _CONFIG if folder.exists() else 'does not exist'}"
        raise RunError(explain("a folder of a model", got, "Check the path; save_folder makes one."))
    if (folder / MANIFEST).exists():
        verify(folder, (_CONFIG, _WEIGHTS))
    table = read_json(folder / _CONFIG)
    require_version(table.get("format_version"), folder)
    facts = _config.from_table(_Folder, table, KINDS)
    tensors = read_tensors(folder / _WEIGHTS)
    with fitting_in(tensors, facts.model):
        model = build(facts.model, facts.shape, facts.classes)
    put_weights(model, tensors)
    return model.to(device).eval()


def _require_fit(recipe: Recipe, shape: tuple[int, ...], classes: int, tensors: Mapping[str, Any]) -> None:
    """Build the recipe, leaving torch's generator where it was, and compare names and shapes."""
    with torch.random.fork_rng(devices=[]):
        built = weights(build(recipe, shape, classes))
    theirs = {name: tuple(tensor.shape) for name, tensor in built.items()}
    ours = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    odd = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    if odd:
        got = f"{odd[0]!r} of shape {ours.get(odd[0])}, where it builds {theirs.get(odd[0])}"
        raise RunError(explain("the weights that the recipe builds", got, "Pass the model's own recipe."))


def _card(facts: _Folder, parameters: int) -> str:
    """The model card: what it is and how to load it."""
    tags = ["pushforward", _config.to_table(facts.model, KINDS)["kind"]]
    head = {"library_name": "pushforward", "tags": tags}
    if len(facts.shape) == 3:
        head["pipeline_tag"] = "unconditional-image-generation"
    matter = "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items())
    recipe = _config.dumps(facts, KINDS)
    return _TEXT.format(matter=matter, parameters=parameters, shape=" x ".join(map(str, facts.shape)), recipe=recipe)


_TEXT: Final = """---
{matter}---

# A model of events of shape {shape}

{parameters:,} parameters. Load and sample it with

```python
import pushforward as pf

model = pf.interop.load_folder("path/to/this/folder")
x = model.sample(64)
```

How it is built:

```toml
{recipe}```
"""
