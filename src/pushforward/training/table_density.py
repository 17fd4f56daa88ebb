"""The density of a table's rows: columns to the line, then a flow of every conditional.

    row  --columns-->  z [columns]  --flow-->  noise              log p(row) = log E_u exp(log p_flow(z) + gain)

Each column is brought to the line by what it holds (`data.columns`), so samples lie within every support and log-
densities are of the table's own values; whole numbers and categories have probabilities. With such columns E_u is a
mean over `draws` points of a scrambled Sobol sequence, the same for all rows: a lower bound on average, close where the
density is flat within a cell. Without them it is exact.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushforward._errors import ConfigError, DataError, explain
from pushforward._random import Draw
from pushforward.data.column_kinds import Categorical
from pushforward.data.columns import Columns
from pushforward.models import AnyConditional

_CHUNK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class TableDensity:
    """p(A | B) of any columns A and B of a row. Values are float64 [rows, columns], NaN where missing.

    Args:
        columns: what they hold, learned.
        model: of their numbers on the line, in float64.
        conditional: whether it has learned anything else than p(row).
        draws: of u, where columns are whole or categorical.
        seed: of u.
    """

    columns: Columns
    model: AnyConditional
    conditional: bool
    draws: int
    seed: int

    def log_prob(self, values: Tensor, asked: Tensor, known: Tensor) -> Tensor:
        """log p(asked | known) in the table's units, [rows]; both are [rows, columns] of bool."""
        points, parts = self._points(), [values.new_zeros(0)]
        for low in range(0, len(values), _CHUNK):
            here = slice(low, low + _CHUNK)
            parts.append(self._log_prob(values[here], asked[here], known[here], points))
        return torch.cat(parts)

    def filled(self, values: Tensor, seed: int, first: int = 0) -> Tensor:
        """The values with what is missing drawn given the rest of the row; row i depends on (seed, first + i) alone."""
        known = ~values.isnan()
        z = self._given(values, known)
        draw, parts = Draw(seed, "table/sample"), [z[:0]]
        for low in range(0, len(values), _CHUNK):
            here = slice(low, low + _CHUNK)
            parts.append(self.model.sample(z[here], ~known[here], known[here], replace(draw, first=first + low)))
        return torch.where(known, values, self.columns.decode(torch.cat(parts)))

    def _log_prob(self, values: Tensor, asked: Tensor, known: Tensor, points: Tensor) -> Tensor:
        """The same of a few rows: the mean over the points u."""
        logs = list[Tensor]()
        middle = self._given(values, known)
        with torch.no_grad():
            for u in points:
                z, gain = self.columns.encode(values, u.expand_as(values))
                log_prob = self.model.log_prob(torch.where(known, middle, z), asked, known)
                logs.append(log_prob + torch.where(asked, gain, 0.0).sum(1))
        return torch.stack(logs).logsumexp(0) - math.log(len(logs))

    def _points(self) -> Tensor:
        """Points u, [draws, columns]; one where no column needs any."""
        discrete = self.columns.discrete
        if not discrete.any():
            return torch.full((1, len(discrete)), 0.5, dtype=torch.float64)
        key = Draw(self.seed, "table/points").key() % 2**31
        points = torch.full((self.draws, len(discrete)), 0.5, dtype=torch.float64)
        engine = torch.quasirandom.SobolEngine(int(discrete.sum()), scramble=True, seed=key)
        points[:, discrete] = engine.draw(self.draws, dtype=torch.float64)
        return points

    def _given(self, values: Tensor, known: Tensor) -> Tensor:
        """The values standardised; those known must be possible."""
        if not self.conditional and bool(known.any()):
            fix = "Fit it with conditionals=0.5, say."
            raise ConfigError(explain("a flow that has learned conditionals", "conditionals=0", fix))
        z, gain = self.columns.encode(values, torch.full_like(values, 0.5))
        outside = gain.isneginf() & known
        if bool(outside.any()):
            row, at = outside.nonzero()[0].tolist()
            kind = self.columns.kinds[at]
            support = f"a value of column '{self.columns.names[at]}' within {kind}"
            got = f"another in row {row}" if isinstance(kind, Categorical) else f"{values[row, at].item():.6g}"
            raise DataError(explain(support, got, "Nothing can be said given an impossible value."))
        return z
