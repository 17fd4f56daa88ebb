"""A data set: immutable rows in raw units, the way to the model's units, and streams of batches.

    batches          rows in the order of `order`, dequantised by noise keyed by (seed, step, index), in model
    units bits per dim     -(log p_model + log |d model / d value|) / (dimensions log 2)

Everything random is a function of the draw's address: the same step gives the same batch after a restart, on
one process or on eight.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample, Sample
from pushforward.data.batch import Batch
from pushforward.data.faults import Places
from pushforward.data.order import order
from pushforward.data.scaling import Scaling
from pushforward.data.stream import Stream

_UNITS = {"image": "images", "table": "rows", "points": "points", "array": "arrays"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Dataset:
    """Events to train on and events held out, in raw units.

    Args:
        name: what it is called in reports.
        kind: "image" ([channels, height, width]), "table" (named columns), "points" or "array".
        values: the training events in raw units, [n, *shape].
        held_out: events never trained on, [m, *shape].
        scaling: from raw units to the model's.
        context: what each training event is conditioned on (class numbers, say), [n, ...], or None.
        held_out_context: the same of the held-out events.
        columns: names of a table's columns.
        labels: names of the classes that a whole-number context counts.
        source: where it came from, its licence if known, and how it was read.
        density: the exact log-density in the model's units, where it is known.
        stream: where training events are read from when they are more than memory holds; `values` are some of them.
        places: where each training event came from, if it came from files.
        split: which row of the source each training event was, and then each held-out one; None if they stand there so.

    Raises:
        ShapeError: parts that do not fit each other.
    """

    name: str
    kind: str
    values: Tensor
    held_out: Tensor
    scaling: Scaling
    context: Tensor | None = None
    held_out_context: Tensor | None = None
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    source: str = ""
    density: Callable[[Sample], PerSample] | None = None
    stream: Stream | None = None
    places: Places | None = None
    split: Tensor | None = None

    def __post_init__(self) -> None:
        if self.held_out.shape[1:] != self.values.shape[1:] or not len(self.values):
            got = f"{tuple(self.values.shape)} to train on and {tuple(self.held_out.shape)} held out"
            fix = "Give both parts the same event shape and at least one row to train on."
            raise ShapeError(explain("training and held-out events of one shape", got, fix))
        for rows, context in ((self.values, self.context), (self.held_out, self.held_out_context)):
            if (context is None) != (self.context is None) or (context is not None and len(context) != len(rows)):
                got = f"{'none' if context is None else len(context)} for {len(rows)} events"
                raise ShapeError(explain("one context per event", got, "Pass a context for every event, or none."))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one event; images are (channels, height, width)."""
        return tuple(self.values.shape[1:])

    @property
    def classes(self) -> int:
        """How many classes the context counts; 0 where there are none."""
        return len(self.labels)

    def __len__(self) -> int:
        return len(self.values if self.stream is None else self.stream)

    def batches(self, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Training batches without end, in model units; each a pure function of (draw, step).

        Args:
            size: the global batch, of which each process takes its slice.
            draw: the address of the stream; step, first and device are not used.
            start: the first step.
            rank: which process this is.
            world: how many there are.

        Raises:
            ConfigError: a size below `world`, or a rank outside 0..world-1.
        """
        if self.stream is not None:
            found, told = self.stream.batches(size, draw, start, rank, world), self.context is not None
            return (self._batch(values, context if told else None, step) for step, values, context in found)
        steps = order(len(self.values), size, draw, start, rank, world)
        values, context = self.values, self.context
        return (
            self._batch(values.index_select(0, rows), None if context is None else context.index_select(0, rows), step)
            for step, rows in steps
        )

    def named(self, size: int, draw: Draw, step: int, rank: int = 0, world: int = 1) -> list[str]:
        """What the rows of the batch of one step are called, `cars.csv:17`; arguments as `batches`."""
        if self.stream is not None:
            return self.stream.named(size, draw, step, rank, world)
        _, rows = next(order(len(self.values), size, draw, step, rank, world))
        places = self.places or Places(f"{self.name} (training rows)", range(1, len(self.values) + 1))
        return [places.of(row) for row in rows.tolist()]

    def held_out_batch(self, draw: Draw, n: int | None = None, first: int = 0) -> Batch:
        """`n` held-out events (all by default) from the `first` on, in model units; the same at every call."""
        return self._some(self.held_out, self.held_out_context, draw.of("held_out"), n, first)

    def train_batch(self, draw: Draw, n: int | None = None) -> Batch:
        """The first `n` training events (all by default), in model units; the same at every call."""
        return self._some(self.values, self.context, draw.of("train"), n)

    def whole(self) -> tuple[Tensor, Tensor | None]:
        """All events in raw units, and their context, in the order of the source: [n + m, *shape], [n + m, ...].

        Those of a stream are read into memory.
        """
        if self.stream is not None:
            values, context = self.stream.whole()
            return values, None if self.context is None else context
        back = slice(None) if self.split is None else self.split.argsort()
        values = torch.cat([self.values, self.held_out])[back]
        if self.context is None or self.held_out_context is None:
            return values, None
        return values, torch.cat([self.context, self.held_out_context])[back]

    def bits_per_dim(self, log_prob: PerSample) -> PerSample:
        """Nats in model units to bits per dimension in raw units, [batch]; without levels, below 0 may be."""
        nats = log_prob + self.scaling.log_abs_det(self.shape)
        return -nats / (math.prod(self.shape) * math.log(2))

    def unlabelled(self) -> "Dataset":
        """The same data without their context, for a model that is not conditioned on it."""
        return replace(self, context=None, held_out_context=None, labels=())

    def describe(self) -> str:
        """One line: name, sizes, shape, levels and classes."""
        unit = _UNITS.get(self.kind, "events")
        parts = [f"{len(self):,} + {len(self.held_out):,} {unit}"]
        if self.kind in ("table", "points"):
            axis = "column" if self.kind == "table" else "dimension"
            parts.append(f"{self.shape[0]} {axis}{'s' if self.shape[0] != 1 else ''}")
        else:
            parts.append("x".join(map(str, self.shape)))
        parts += [f"{self.scaling.levels} levels"] if self.scaling.levels else []
        parts += [f"{self.classes} classes"] if self.classes else []
        parts += ["density known"] if self.density else []
        return f"{self.name}: {', '.join(parts)}"

    def __repr__(self) -> str:
        return f"<Dataset {self.describe()}>"

    def _some(self, values: Tensor, context: Tensor | None, draw: Draw, n: int | None, first: int = 0) -> Batch:
        most = len(values) - first
        n = most if n is None else n
        if not (first >= 0 and 0 < n <= most):
            got = f"n={n} from {first} on {self.describe()}" if first else f"n={n} on {self.describe()}"
            raise ConfigError(explain(f"n from 1 to {most}", got, "Ask for fewer, or leave n out for all."))
        rows = slice(first, first + n)
        return self._batch(values[rows], None if context is None else context[rows], replace(draw, first=first))

    def _batch(self, values: Tensor, context: Tensor | None, draw: Draw) -> Batch:
        levels = self.scaling.levels is not None
        u = draw.of("dequantize").uniform(len(values), self.shape) if levels else None
        return Batch(self.scaling.to_model(values, u).to(torch.get_default_dtype()), context)
