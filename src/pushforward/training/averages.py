"""Power-function averages of the weights: followed in training, kept on the way, and put together to any width after.

    RUN/averages/step-00000500/    averages.safetensors  {"WIDTH/WEIGHT": tensor}    manifest.json

A snapshot is written before the checkpoint of its step, which has the same averages: a run that goes on from a
checkpoint therefore has all snapshots up to it, and makes the later ones again with the same bits. `profiles` has the
maths.

Reference: Karras et al. 2024 (arXiv 2312.02696).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from pushforward._durable import put, remove, replacing_folder
from pushforward._errors import RunError, explain
from pushforward.training.files import MANIFEST, manifest, pieces, read_tensors, verify
from pushforward.training.profiles import Profile, coefficients, combined, exponent

FOLDER: Final = "averages"
_FILE: Final = "averages.safetensors"


class Averages:
    """The averages of some weights, one for each width.

    Args:
        widths: standard deviations of the profiles, as shares of training.
        weights: what they start as; the first update counts for all of it.
    """

    def __init__(self, widths: Iterable[float], weights: Sequence[Tensor]) -> None:
        self._powers = {std: exponent(std) + 1 for std in widths}
        self.tensors = {std: [each.clone() for each in weights] for std in self._powers}

    @torch.no_grad()
    def follow(self, weights: list[Tensor], step: int) -> None:
        """Take in the weights after update number `step`, counted from 0."""
        for std, power in self._powers.items():
            fresh = 1.0 - (step / (step + 1)) ** power
            torch._foreach_lerp_(self.tensors[std], weights, fresh)  # pyright: ignore[reportPrivateImportUsage]


def named(std: float, name: str) -> str:
    """What the average of this width of a weight is called in files.

    >>> named(0.05, "net.weight")
    '0.05/net.weight'
    """
    return f"{float(std)!r}/{name}"


def write_snapshot(run: Path, step: int, tensors: Mapping[str, Tensor]) -> None:
    """Keep the averages after so many updates.

    Raises:
        OSError: the disk is full, say; nothing is left of this one.
    """
    with replacing_folder(run / FOLDER / f"step-{step:08d}") as beside:
        put(beside / MANIFEST, [manifest({_FILE: put(beside / _FILE, pieces(tensors))}).encode()])


def forget_snapshots(run: Path, step: int) -> None:
    """Take away what was kept after this step, by a run that will come there again."""
    for place in _places(run):
        if _step(place) > step:
            remove(place / MANIFEST)  # from this moment on it is none
            remove(place)


def averaged(run: Path, std: float, widths: Sequence[float], step: int | None = None) -> dict[str, Tensor]:
    """The weights of a run averaged over any width, at any moment that its snapshots reach.

    From half to twice the widths followed they are within about 1 % of an average that was followed, far from them 5 %.

    Args:
        run: the run folder.
        std: the width wanted.
        widths: those that the run followed (`Settings.profiles`).
        step: after how many updates; the last snapshot if None.

    Returns:
        The averaged weights by name, without buffers and without weights that were not trained.

    Raises:
        RunError: no snapshots, or a damaged one.
        ConfigError: no width of a profile, or a moment after the last snapshot.
    """
    places = [place for place in _places(run) if (place / MANIFEST).is_file()]
    if not places or not widths:
        fix = "Train with profiles, --profiles 0.05 0.1 say, which keeps them."
        raise RunError(explain("a run with averages", f"{str(run)!r}, which kept none", fix))
    held = [Profile(_step(place), each) for place in places for each in widths]
    counts = coefficients(held, Profile(held[-1].step if step is None else step, std))
    return combined(_each(places, widths), counts)


def _each(places: Sequence[Path], widths: Sequence[float]) -> Iterator[dict[str, Tensor]]:
    """The averages one by one; memory holds one snapshot."""
    for place in places:
        verify(place, (_FILE,))
        tensors = read_tensors(place / _FILE)
        for std in widths:
            mark = named(std, "")
            yield {name.removeprefix(mark): each for name, each in tensors.items() if name.startswith(mark)}


def _places(run: Path) -> list[Path]:
    """Folders of snapshots, the oldest first."""
    return sorted((p for p in (run / FOLDER).glob("step-*") if p.name[5:].isdecimal()), key=_step)


def _step(place: Path) -> int:
    return int(place.name.removeprefix("step-"))
