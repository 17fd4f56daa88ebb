"""A data set and a model small enough to be known exactly."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion


@dataclass(frozen=True)
class Units:
    """Whole numbers 0..levels-1 to [-1, 1), or nothing at all."""

    levels: int | None = None

    def to_values(self, x: Tensor) -> Tensor:
        return x if self.levels is None else ((x + 1) / 2 * self.levels).floor().clamp(0, self.levels - 1)

    def to_model(self, values: Tensor, u: Tensor) -> Tensor:
        return values.float() if self.levels is None else (values + u) / self.levels * 2 - 1


@dataclass(frozen=True)
class Data:
    """What the report needs of a data set."""

    values: Tensor
    held_out: Tensor
    kind: str = "points"
    scaling: Units = Units()
    context: Tensor | None = None
    held_out_context: Tensor | None = None
    columns: tuple[str, ...] = ()
    name: str = "made up"
    source: str = "Drawn <here> & now."
    stream: None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape[1:])

    def describe(self) -> str:
        return f"{self.name}: {len(self.values)} + {len(self.held_out)}"

    def batches(self, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        step = start
        while True:
            rows = draw.at(step).integers(size, len(self.values))
            context = None if self.context is None else self.context[rows]
            yield Batch(self.scaling.to_model(self.values[rows], draw.at(step).uniform(size, self.shape)), context)
            step += 1

    def train_batch(self, draw: Draw, n: int | None = None) -> Batch:
        return self._whole(self.values, self.context, draw, n)

    def held_out_batch(self, draw: Draw, n: int | None = None, first: int = 0) -> Batch:
        assert first == 0
        return self._whole(self.held_out, self.held_out_context, draw.of("held out"), n)

    def bits_per_dim(self, log_prob: Tensor) -> Tensor:
        size = math.prod(self.shape)
        scale = 0.0 if self.scaling.levels is None else math.log(2 / self.scaling.levels)
        return -(log_prob + size * scale) / (size * math.log(2))

    def _whole(self, values: Tensor, context: Tensor | None, draw: Draw, n: int | None) -> Batch:
        part = values[:n]
        x = self.scaling.to_model(part, draw.uniform(len(part), self.shape))
        return Batch(x, None if context is None else context[:n])


def gaussian_data(n: int = 400, shape: tuple[int, ...] = (2,), std: float = 0.5, **others: object) -> Data:
    """Normal data of mean 0."""
    draw = Draw(7, "gaussian data")
    return Data(draw.normal(n, shape) * std, draw.of("held out").normal(n // 2, shape) * std, **others)


def gaussian_model(shape: tuple[int, ...] = (2,), std: float = 0.5) -> Diffusion:
    """The exact flow from N(0, 1) to N(0, std^2) on the straight path."""

    def velocity(x: Tensor, t: Tensor, context: object = None) -> Tensor:
        t = t.reshape(-1, *[1] * (x.ndim - 1))
        return (t - (1 - t) * std**2) / ((1 - t) ** 2 * std**2 + t**2) * x

    return Diffusion(velocity, shape=shape)


def images_data(n: int = 120) -> Data:
    """Two classes of 1x8x8 images: a bright left or right half on a dark ground."""
    draw = Draw(3, "images")

    def part(n: int, draw: Draw) -> tuple[Tensor, Tensor]:
        labels = torch.arange(n) % 2
        noise = (draw.uniform(n, (1, 8, 8)) * 3).long()
        for i, label in enumerate(labels.tolist()):
            noise[i, :, 2:6, 4 * label : 4 * label + 2] += 12
        return noise.to(torch.uint8), labels

    (values, context), (held, held_context) = part(n, draw), part(n // 2, draw.of("held out"))
    return Data(values, held, "image", Units(17), context, held_context)


def history(n: int = 200) -> SimpleNamespace:
    """A falling loss."""
    return SimpleNamespace(steps=tuple(range(n)), losses=tuple(2.0 / (1 + i) + 0.1 for i in range(n)))
