"""Models out of run folders and into them (`run_folder.py` has what is in one).

A run that is done has its averaged weights beside the manifest; one that is not, in its newest checkpoint.
"""

import os
import warnings
from pathlib import Path

from torch import Tensor

from pushforward import _config
from pushforward._errors import RunError, explain
from pushforward._recipe import KINDS, Recipe, Run, Settings
from pushforward.models.model import Model
from pushforward.training.build import build, fitting_in
from pushforward.training.checkpoint import newest_checkpoint, read_checkpoint
from pushforward.training.files import MANIFEST, read_tensors, require_version, verify
from pushforward.training.run_folder import CONFIG, WEIGHTS, locked
from pushforward.training.weights import not_finite, put_weights, weights


def load(run: str | os.PathLike[str], model: Model | None = None, device: str = "cpu") -> Model:
    """The model of a run folder, ready to sample: with its final weights, or its newest checkpoint's.

    Args:
        run: the folder.
        model: a model to put the weights into, for runs whose model was built by hand.
        device: where to put it.

    Raises:
        RunError: the folder is missing, damaged, of another version, or says nothing about its model.
    """
    folder = Path(run)
    config = read_run(folder)
    if model is None and config.model is None:
        fix = "Build it as you did then and call load(run, model)."
        raise RunError(explain("a recipe of the model", f"{str(folder)!r}, built by hand", fix))
    tensors = _final_weights(folder)
    if model is None:
        assert config.model is not None
        with fitting_in(tensors, config.model):
            model = build(config.model, config.shape, config.classes)
    put_weights(model, tensors)
    bad = not_finite(dict(model.named_parameters()))
    if bad:
        fix = "Train again with a lower lr."
        raise RunError(explain("finite weights", f"{bad!r} in {str(folder)!r}, which is not", fix))
    return model.to(device).eval()


def save_run(
    model: Model,
    run: str | os.PathLike[str],
    recipe: Recipe | None = None,
    classes: int = 0,
    data: str = "",
    settings: Settings | None = None,
) -> Path:
    """Write a model as a finished run folder, as `load` reads it.

    Args:
        model: whose weights are written as they are.
        run: the folder; made if it does not exist.
        recipe: how to build the model; without it, `load` must be given one.
        classes: how many classes its context counts.
        data: the name of its data set.
        settings: how it was trained, if it was.

    Raises:
        RunError: the folder holds something else or is being written to.
    """
    config = Run(settings or Settings(), model.shape, classes, data, "", recipe)
    with locked(Path(run), config) as folder:
        folder.finish(weights(model))
    return Path(run)


def read_run(run: str | os.PathLike[str]) -> Run:
    """What a run folder's `config.toml` says.

    Raises:
        RunError: there is none, or it is of another version.
        ConfigError: it says something impossible.
    """
    path = Path(run) / CONFIG
    if not path.is_file():
        got = f"{str(run)!r}, which {'has no ' + CONFIG if Path(run).exists() else 'does not exist'}"
        raise RunError(explain("a run folder", got, "Check the path; `train` with run= makes one."))
    table = _config.read(path)
    require_version(table.get("format_version"), path.parent)
    return _config.from_table(Run, table, KINDS)


def _final_weights(folder: Path) -> dict[str, Tensor]:
    if (folder / MANIFEST).exists():
        verify(folder, (CONFIG, WEIGHTS))
        return read_tensors(folder / WEIGHTS)
    place = newest_checkpoint(folder / "checkpoints")
    if place is None:
        fix = "Train it again with the same folder."
        raise RunError(explain("a trained run", f"{str(folder)!r}, which has no weights yet", fix))
    checkpoint = read_checkpoint(place, check=False)
    warnings.warn(f"{str(folder)!r} is not done: these are the weights of step {checkpoint.step}.", stacklevel=3)
    return checkpoint.averaged
