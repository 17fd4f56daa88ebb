"""All columns of a table together, each brought to the line by what it holds (`column_kinds.py`) and standardised.

value  --kind-->  y  --(asinh, of heavy tails: `tails.py`)-->  b  --(b - mean)/std-->  z
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward.data.column_kinds import Categorical, Column
from pushforward.data.tails import Tails


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """All columns of a table: z = (b - mean)/std.

    Args:
        names: of the columns.
        kinds: what they hold, learned.
        mean, std: of b over the rows learned from, [columns].
        tails: how y becomes b, which is y itself where tails are light.
    """

    names: tuple[str, ...]
    kinds: tuple[Column, ...]
    mean: Tensor
    std: Tensor
    tails: Tails

    @staticmethod
    def learn(names: tuple[str, ...], kinds: tuple[Column, ...], values: Tensor, u: Tensor) -> "Columns":
        """From values [n, columns], NaN where missing, and u of their shape.

        Raises:
            ConfigError: a column without a value, of one value, or with values outside its support.
        """
        known, learned, ys = ~values.isnan(), list[Column](), list[Tensor]()
        for name, kind, column, spread, there in zip(names, kinds, values.T, u.T, known.T, strict=True):
            if not there.any():
                raise ConfigError(explain("a value in every column", f"none in '{name}'", "Leave the column out."))
            learned.append(kind.learned(column[there]))
            y, gain = learned[-1].encode(column[there], spread[there])
            if bool(gain.isneginf().any()):
                odd = column[there][gain.isneginf()]
                first = "" if isinstance(kind, Categorical) else f", {odd[0].item():.6g} first"
                got = f"{len(odd)} outside it{first}"
                fix = "Widen its bounds, name all categories, or choose another kind."
                raise ConfigError(explain(f"values of column '{name}' in the support of {learned[-1]}", got, fix))
            if not kind.discrete and bool((column[there] == column[there][0]).all()):
                got = f"{column[there][0].item():.6g} alone"
                fix = "A constant has no density: leave the column out, or declare it 'categorical'."
                raise ConfigError(explain(f"different values in column '{name}'", got, fix))
            ys.append(y)
        tails = Tails.learn(ys)
        bent = [tails.of(k).encode(y)[0] for k, y in enumerate(ys)]
        std = torch.stack([b.std(correction=0).clamp_min(1e-12) for b in bent])
        return Columns(names, tuple(learned), torch.stack([b.mean() for b in bent]), std, tails)

    @property
    def discrete(self) -> Tensor:
        """Which columns have probabilities instead of densities, [columns]."""
        return torch.tensor([kind.discrete for kind in self.kinds])

    def encode(self, values: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """(z, gain), each [n, columns], and 0 where a value is missing."""
        pairs = [kind.encode(column, spread) for kind, column, spread in zip(self.kinds, values.T, u.T, strict=True)]
        y, gain = (torch.stack(part, 1) for part in zip(*pairs, strict=True))
        (b, more), missing = self.tails.encode(y), values.isnan()
        gain = gain + more - self.std.log()
        return ((b - self.mean) / self.std).masked_fill(missing, 0), gain.masked_fill(missing, 0)

    def decode(self, z: Tensor) -> Tensor:
        """Values [n, columns] within their supports."""
        y = self.tails.decode(z * self.std + self.mean)
        return torch.stack([kind.decode(column) for kind, column in zip(self.kinds, y.T, strict=True)], 1)
