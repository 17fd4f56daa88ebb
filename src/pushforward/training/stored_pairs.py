"""Pairs of noise and sample on disk: more than memory holds, made by many, and taken up where they stopped.

`store_pairs` fills a folder with what a model carries noise to, `store_real_pairs` with real events and the noise that
the model carries them from. `StoredPairs` serves one folder or several as a data set, reading the rows of each batch
alone. Noise is in units of eps (`objectives.Ends`). Where it would not be so by itself the plan says `ends`, so that
pairs which earlier releases made of such models, in the units of their base, are told apart and never mixed with new
ones.

Reference: Liu et al. 2022 (arXiv 2209.03003) for pairs; the format is `shards`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pushforward._errors import ConfigError, RunError, ShapeError, explain
from pushforward._random import Draw
from pushforward._typing import Sample
from pushforward.data.batch import Batch
from pushforward.data.order import order
from pushforward.models.model import Model
from pushforward.objectives.ends import Ends
from pushforward.solvers import Solver
from pushforward.training.files import read_json
from pushforward.training.shards import Shards, fingerprint

_PLAN: Final = "plan.json"
_ENDS: Final = "ends"
_CLOSE: Final = 1e-4  # ends nearer to eps than this leave pairs as they always were
_WHY: Final = "What was trained on the old ones is worth nothing on VE and EDM (docs/failures.md)."


@torch.no_grad()
def store_pairs(
    model: Model,
    folder: Path,
    n: int,
    solver: Solver | None = None,
    seed: int = 0,
    context: Tensor | None = None,
    size: int = 1024,
    worker: int = 0,
    workers: int = 1,
    progress: bool = False,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Fill a folder with `n` pairs, or go on filling it; pair i depends on (seed, i) alone.

    Args:
        model: what carries noise to samples.
        folder: where they go.
        n: how many in all, of all workers.
        solver: how to integrate; the model's own if None.
        seed: of the noise.
        context: what each pair is conditioned on, [n, *context].
        size: pairs to a file, and computed at a time.
        worker, workers: whose share to make.
        progress: show it on stderr.
        about: what else the pairs are functions of, and the weights do not show: how far a model is guided, say.

    Raises:
        ConfigError: the folder was begun with another model, solver, seed or number, or by a release that gave noise in
            other units.
    """
    ends = Ends.of(model)
    shards = _begun(folder, n, size, ends, _maker(model, solver, seed, context) | dict(about or {}))

    def make(first: int, count: int) -> dict[str, Tensor]:
        given = None if context is None else context[first : first + count].to(model.device)
        z = model.noise(count, seed, first, given)
        x = model.decode(z, given, solver)
        return _named(x, ends.eps(x, z), given)

    shards.fill(make, worker, workers, "pairs" if progress else "")


@torch.no_grad()
def store_real_pairs(
    model: Model,
    folder: Path,
    x: Sample,
    solver: Solver | None = None,
    context: Tensor | None = None,
    size: int = 1024,
    worker: int = 0,
    workers: int = 1,
    progress: bool = False,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Fill a folder with real events, [n, *event], and the noise the model carries each from; the rest as above."""
    ends = Ends.of(model)
    maker = _maker(model, solver, None, context) | {"events": _digest(x)} | dict(about or {})
    shards = _begun(folder, len(x), size, ends, maker)

    def make(first: int, count: int) -> dict[str, Tensor]:
        given = None if context is None else context[first : first + count].to(model.device)
        events = x[first : first + count].to(model.device)
        return _named(events, ends.eps(events, model.encode(events, given, solver)), given)

    shards.fill(make, worker, workers, "real pairs" if progress else "")


@dataclass(frozen=True, slots=True)
class StoredPairs:
    """The pairs of one folder or several, as a data set; memory holds the rows of a batch.

    Args:
        parts: each file's tensors, mapped into memory.
        starts: index of each file's first pair, and the number of all at the end.
    """

    parts: tuple[dict[str, np.ndarray], ...]
    starts: tuple[int, ...]

    @classmethod
    def open(cls, *folders: Path) -> "StoredPairs":
        """All pairs of these folders, checked against their checksums.

        Raises:
            RunError: a folder is not complete, or a file damaged.
            ConfigError: folders whose noise is in different units.
            ShapeError: folders whose pairs are of different kinds.
        """
        for folder in folders:
            damaged = (shards := Shards.open(folder)).missing()
            if damaged:
                got = f"{str(folder)!r} with {len(damaged)} of {len(shards)} files missing or damaged"
                raise RunError(explain("complete pairs", got, "Run the command that makes them again: it goes on."))
        units = {folder: read_json(folder / _PLAN).get(_ENDS) for folder in folders}
        if len({str(each) for each in units.values()}) > 1:
            got = ", ".join(f"{str(folder)!r} with {_ENDS} = {each}" for folder, each in units.items())
            raise ConfigError(explain("pairs whose noise is in the same units", got, f"Make them all again. {_WHY}"))
        parts = tuple(view for folder in folders for view in Shards.open(folder).views())
        for part in parts:
            if not {"x", "eps"} <= part.keys() or len({each.shape[:1] for each in part.values()}) != 1:
                got = f"{', '.join(f'{name} {each.shape}' for name, each in part.items())[:200] or 'none'}"
                raise RunError(explain("pairs x and eps, as many of each", got, "Make them again in a new folder."))
        kinds = {tuple((name, *part[name].shape[1:]) for name in sorted(part)) for part in parts}
        if len(kinds) != 1:
            raise ShapeError(
                explain("pairs of one shape, all with a context or none", f"{sorted(kinds)}", "Part them.")
            )
        lengths = np.cumsum([0, *(len(part["x"]) for part in parts)])
        return cls(parts, tuple(int(each) for each in lengths))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one event."""
        return tuple(self.parts[0]["x"].shape[1:])

    def __len__(self) -> int:
        return self.starts[-1]

    def batches(self, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Endless batches; each epoch is a fresh order, a function of the draw alone. Rank r gets its slice of each."""
        for _, rows in order(len(self), size, draw, start, rank, world):
            found = {name: self._rows(name, rows.numpy()) for name in self.parts[0]}
            yield Batch(found["x"], found.get("context"), found["eps"])

    def named(self, size: int, draw: Draw, step: int, rank: int = 0, world: int = 1) -> list[str]:
        """As `data.Dataset.named`."""
        return [f"pair {row + 1}" for row in next(order(len(self), size, draw, step, rank, world))[1].tolist()]

    def _rows(self, name: str, rows: np.ndarray) -> Tensor:
        """These rows of one tensor, in this order."""
        where = np.searchsorted(self.starts, rows, side="right") - 1
        like = self.parts[0][name]
        values = np.empty((len(rows), *like.shape[1:]), like.dtype)
        for part in np.unique(where):
            here = where == part
            values[here] = self.parts[part][name][rows[here] - self.starts[part]]
        return torch.from_numpy(values)


def _begun(folder: Path, total: int, size: int, ends: Ends, maker: Mapping[str, Any]) -> Shards:
    """The folder with this plan, which says the ends where noise would be something else than eps without them.

    Raises:
        ConfigError: it was begun with another plan, or by a release that did not look at the ends.
    """
    said = {} if ends.within(_CLOSE) else {_ENDS: list(ends)}
    if said and (folder / _PLAN).exists() and _ENDS not in read_json(folder / _PLAN):
        got = f"{str(folder)!r} of an earlier release, in the units of the model's own"
        raise ConfigError(explain("pairs whose noise is in units of eps", got, f"Use another folder. {_WHY}"))
    return Shards.begin(folder, total, size, {**maker, **said})


def _maker(model: Model, solver: Solver | None, seed: int | None, context: Tensor | None) -> dict[str, Any]:
    """What the pairs are functions of."""
    used = repr(solver or getattr(model, "solver", None))
    return {"weights": fingerprint(model.state_dict()), "solver": used, "seed": seed, "context": _digest(context)}


def _digest(tensor: Tensor | None) -> str | None:
    return None if tensor is None else fingerprint({"": tensor})


def _named(x: Tensor, eps: Tensor, context: Tensor | None) -> dict[str, Tensor]:
    return {"x": x, "eps": eps} | ({} if context is None else {"context": context})
