"""Rows of a data set as a base: a flow from data to data.

    z = row k of the source, k uniform,        x0 = decode(z)

On the straight path a velocity trained from these rows carries their distribution to that of the data (Liu et al. 2022,
arXiv 2209.03003, "transfer between two distributions"), and reflow straightens it as it does one from noise. The rows
are finitely many, so there is no density to push forward: samples, distances and straightness, no likelihood.
"""

from typing import Self, cast

import torch
from torch import Tensor, nn

from pushforward._classes import indices
from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.models.base import Base


class Rows(nn.Module, Base):
    """Draws from given rows, each as likely as any other; with classes, from those of the class asked for.

    The rows stand among the model's weights, which are saved and moved with it, and are not trained.
    Training draws them too where it would draw noise: `Regression()` needs no coupling.

    Args:
        shape: the event's shape.
        count: how many rows, 1 or more; all 0 until weights are loaded, or `of` is given some.
        classes: how many classes the rows have; 0 for none. Without a context, or for index `classes`, any row is
            drawn.

    Raises:
        ConfigError: no row.

    >>> Rows.of(torch.tensor([[5.0, 5.0]])).sample(2, Draw(0))
    tensor([[5., 5.],
            [5., 5.]])
    """

    def __init__(self, shape: tuple[int, ...], count: int, classes: int = 0) -> None:
        super().__init__()
        if count < 1:
            raise ConfigError(explain("one row or more", f"{count}", "Give the rows that samples start from."))
        self.shape, self.std, self.classes = tuple(shape), 1.0, classes
        self.rows = nn.Parameter(torch.zeros(count, *shape), requires_grad=False)
        self.register_buffer("label", torch.zeros(count, dtype=torch.long) if classes else None)

    @classmethod
    def of(cls, rows: Sample, context: Context = None, classes: int = 0) -> Self:
        """These rows [count, *shape], in the model's units; with classes, `context` [count] is that of each.

        Raises:
            ConfigError: rows that are no finite floats, classes without a context or beyond their number, or a class of
                which there is no row.
        """
        if not isinstance(rows, Tensor) or not rows.is_floating_point() or not rows.isfinite().all():
            got = f"{rows.dtype}" if isinstance(rows, Tensor) else f"{type(rows).__name__}"
            got += ", some of them not finite" if isinstance(rows, Tensor) and rows.is_floating_point() else ""
            fix = "Take them to the model's units: data.scaling.to_model(rows).float(), without holes."
            raise ConfigError(explain("rows of finite floats, [n, *shape]", got, fix))
        made = cls(tuple(rows.shape[1:]), len(rows), classes).to(rows)
        made.rows.data.copy_(rows)
        if classes:
            label = torch.empty(0, dtype=torch.long) if context is None else indices(context)
            told = set(label.tolist())
            missing, strange = sorted(set(range(classes)) - told), sorted(told - set(range(classes)))
            if missing or strange or len(label) != len(rows):
                beyond = f", and {strange} beyond" if strange else ""
                got = f"{len(rows)} rows, {len(label)} classes of theirs, none of {missing}{beyond}"
                fix = "Give each row its class and each class a row, or leave classes out."
                raise ConfigError(explain(f"a row of each of {classes} classes", got, fix))
            cast(Tensor, made.label).copy_(label)
        return made

    @property
    def has_density(self) -> bool:
        """Points have none."""
        return False

    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        u = draw.uniform(n, dtype=torch.float64).to(self.rows.device)
        anyone = (u * len(self.rows)).long()
        if not self.classes or context is None:
            return self.rows[anyone]
        label, asked = cast(Tensor, self.label), indices(context).to(u.device)
        order, count = label.argsort(stable=True), label.bincount(minlength=self.classes)
        c = asked.clamp_max(self.classes - 1)
        own = order[(count.cumsum(0) - count)[c] + (u * count[c]).long()]
        return self.rows[torch.where(asked < self.classes, own, anyone)]

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        """Refused.

        Raises:
            ConfigError: always.
        """
        fix = "Measure samples instead (report.energy_distance), or start from noise."
        raise ConfigError(explain("a base with a density, for a likelihood", f"{len(self.rows):,} rows of data", fix))
