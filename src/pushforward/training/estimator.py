"""A flow over a table as an estimator with scikit-learn's words: `fit`, `score_samples`, `score`, `sample`, `impute`.

Densities, samples and what is missing are `TableDensity`'s: any column, any conditional, in the table's own units.

scikit-learn is not needed, and not imported; `check_estimator` holds where it is installed. The protocol asks for an
object that `fit` changes, so this is the one class here that is neither frozen nor a module.
"""

import math
import operator
import os
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from pushforward._errors import ConfigError, DataError, RunError, explain
from pushforward._random import Draw
from pushforward._recipe import NSF, Settings, Table
from pushforward.data.column_kinds import Categorical, Column
from pushforward.data.columns import Columns
from pushforward.data.frames import Frame, cells, frame, kinds, numbers
from pushforward.models import AnyConditional, NormalizingFlow
from pushforward.training.doubling import doubled
from pushforward.training.engine import borrowed_randomness
from pushforward.training.journal import History
from pushforward.training.parameters import Parameters, not_fitted
from pushforward.training.rows import Rows
from pushforward.training.run import load, read_run
from pushforward.training.table_density import TableDensity
from pushforward.training.table_file import read_columns
from pushforward.transforms import Affine, Monotone

_EPOCHS = 20
_FEW = 500


class FlowDensity(Parameters):
    """The density of the rows of a table: columns real, positive, bounded, circular, whole, categorical, some missing.

    Args:
        model: the map of each number given those before: "nsf" (affine, then a spline) or "maf" (affine).
        steps, batch, lr: of training. Tables small enough to be learned by heart are trained for fewer steps, as many
            as rows held out like best.
        transforms, hidden: autoregressive transforms, and the width of their networks.
        dropout: probability of dropping a unit of these in training; 0.2 for fewer than 500 rows and
            0 for more, if None.
        columns: what columns hold, by name (by number in arrays): a `data.Column`, or "real", "positive", "circular",
            "integer", "categorical". By default their type says it.
        conditionals: share of the training spent on p(A | B) of random columns; 0 for p(row) alone, and then
            nothing can be given, and missing only what may have been so in the rows learned from.
        held_out: the share of the rows held out for that, where steps go through the table more than 20 times; 0
            trains all steps on all rows.
        draws: of u in each row's density, where columns are whole or categorical.
        seed: everything random is a function of it.
        progress: show the training on stderr.

    Attributes set by `fit`: `columns_`, `model_`, `history_`, `n_features_in_`, `holes_` (whether values were missing),
    and `feature_names_in_` of tables whose columns have names.

    >>> rows = np.random.default_rng(0).normal(size=(200, 2))
    >>> flow = FlowDensity(steps=20, hidden=8).fit(rows)
    >>> flow.score_samples(rows).shape, flow.sample(3).shape
    ((200,), (3, 2))
    """

    def __init__(
        self,
        model: Literal["nsf", "maf"] = "nsf",
        *,
        steps: int = 1_000,
        batch: int = 256,
        lr: float = 3e-3,
        transforms: int = 3,
        hidden: int = 64,
        dropout: float | None = None,
        columns: Mapping[Any, Column | str] | None = None,
        conditionals: float = 0.5,
        held_out: float = 0.2,
        draws: int = 16,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        self.model, self.steps, self.batch, self.lr = model, steps, batch, lr
        self.transforms, self.hidden, self.dropout, self.columns = transforms, hidden, dropout, columns
        self.conditionals, self.held_out, self.draws = conditionals, held_out, draws
        self.seed, self.progress = seed, progress

    def fit(self, X: Any, y: object = None) -> Self:
        """Learn from a table, an array [rows, columns] or a data frame; NaN and None are missing. `y` is ignored.

        Raises:
            DataError: no table, one row, infinite numbers, words among numbers.
            ConfigError: impossible settings, or values outside a declared support.
        """
        monotone = self._checked()
        given = frame(X)
        if given.rows < 2:
            raise DataError(explain("two rows or more", f"n_samples = {given.rows} (1 sample)", "Give it more rows."))
        held = kinds(given, self.columns or {})
        values = torch.from_numpy(numbers(given, held))
        u = Draw(self.seed, "table/learn").uniform(len(values), (len(held),), torch.float64)
        self.columns_ = Columns.learn(tuple(map(str, given.names)), held, values, u)
        self.n_features_in_, self.frame_, self.holes_ = len(held), given.empty(), bool(values.isnan().any())
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if all(isinstance(name, str) for name in given.names):
            self.feature_names_in_ = np.array(given.names, dtype=object)
        self.model_, self.history_ = self._trained(values, monotone)
        return self

    @classmethod
    def of_run(cls, run: str | os.PathLike[str]) -> Self:
        """The estimator in a run folder of a table, as `pushforward train my.csv --model nsf` leaves one.

        Tables come out as dictionaries of columns.

        Raises:
            RunError: a run of something else, or a damaged one.
        """
        recipe, columns = read_run(run).model, read_columns(run)
        flow = load(run)
        if not (isinstance(recipe, Table) and isinstance(flow, NormalizingFlow)):
            raise RunError(
                explain("a run of a table's flow", f"one of {recipe}", "Train it again: its files disagree.")
            )
        made = cls("nsf" if isinstance(recipe.flow, NSF) else "maf", conditionals=recipe.conditionals)
        made.columns_, made.model_ = columns, AnyConditional.around(flow).double().eval()
        none = tuple(np.empty(0) for _ in columns.names)
        made.n_features_in_, made.frame_ = len(none), Frame(columns.names, none, dict, np.dtype(object))
        made.holes_ = True  # as far as a run remembers
        made.feature_names_in_ = np.array(columns.names, dtype=object)
        return made

    def score_samples(self, X: Any, given: Any = ()) -> np.ndarray:
        """log p of each row in nats, [rows]; of the other columns given these, where some are named.

        `given` is names of columns, or one of them alone: `given="age"`. Missing values are left out: a row's density
        is that of what is there. Outside a support it is -inf.
        """
        values = self._values(X)
        if not self.conditionals and not self.holes_ and bool(values.isnan().any()):
            fix = "Fit it with conditionals=0.5, say."
            raise ConfigError(explain("a flow that has learned marginals, for missing values", "conditionals=0", fix))
        known = torch.zeros(values.shape, dtype=torch.bool)
        known[:, self._places(given)] = True
        asked, known = ~values.isnan() & ~known, ~values.isnan() & known
        return self._density.log_prob(values, asked, known).numpy()

    def score(self, X: Any, y: object = None) -> float:
        """Mean log p of the rows in nats; higher is better. (scikit-learn's `KernelDensity.score` is the sum.)"""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, seed: int | None = None) -> Any:
        """New rows, none of their values missing, in a table like the one learned from.

        Args:
            n_samples: how many.
            seed: of the noise; the estimator's own if None.
        """
        return self.conditional({}, n_samples, seed)

    def conditional(self, given: Mapping[Any, Any], n_samples: int = 1, seed: int | None = None, first: int = 0) -> Any:
        """New rows with some columns as given, `{"age": 40}`: samples of p(the others | these).

        Args:
            given: values by column.
            n_samples: how many.
            seed: of the noise; the estimator's own if None.
            first: index of the first row; row i depends on (seed, i) alone.

        Raises:
            ConfigError: no such column, or a number of rows that is none.
            DataError: values outside their support, or several for one column.
        """
        self._fitted()
        n, row = _count(n_samples), [np.array([math.nan])] * self.n_features_in_
        for name, value in dict(given).items():  # a row of a data frame is a mapping whose iteration is its values
            row[self._places([name])[0]] = _alone(name, value)
        one = Frame(self.frame_.names, tuple(row), None, np.dtype(object))
        values = torch.from_numpy(numbers(one, self.columns_.kinds))
        for name, kind, cell, code in zip(self.frame_.names, self.columns_.kinds, row, values[0], strict=True):
            if isinstance(kind, Categorical) and code < 0:
                known = ", ".join(map(repr, kind.values[:12]))
                fix = "Choose one of those it has learned."
                raise DataError(explain(f"a category of column {name!r} ({known})", repr(cell[0]), fix))
        return self.frame_.like(self._filled(values.expand(n, -1), seed, first))

    def impute(self, X: Any, seed: int | None = None) -> Any:
        """The table with its missing values drawn from p(missing | the rest of the row).

        These are draws and not means: give several seeds for multiple imputation. A data frame keeps its index, the
        order of its columns, and the types of those whose values they can hold.
        """
        given = frame(X)
        like = self.frame_ if given.maker is None else given
        return like.like(self._filled(self._read(given), seed))

    def _checked(self) -> Monotone | None:
        if self.model not in ("nsf", "maf"):
            raise ConfigError(explain("model 'nsf' or 'maf'", repr(self.model), "'nsf' bends more."))
        counts = {"steps": self.steps, "batch": self.batch, "transforms": self.transforms, "hidden": self.hidden}
        for name, value in (counts | {"draws": self.draws}).items():
            if not isinstance(value, int | np.integer):
                raise ConfigError(explain(f"{name} to be a whole number", repr(value), "Change the value."))
        if not isinstance(self.columns or {}, Mapping):
            fix = "Name the column of each: columns={'age': 'positive'}."
            raise ConfigError(explain("kinds by column", f"columns={self.columns!r}", fix))
        if not (0 <= self.conditionals <= 1 and 0 <= self.held_out < 1 and self.draws >= 1 and self.transforms >= 1):
            got = f"{self.conditionals=}, {self.held_out=}, {self.draws=}, {self.transforms=}".replace("self.", "")
            raise ConfigError(explain("shares in [0, 1], a draw, a transform", got, "Change the value."))
        return None if self.model == "nsf" else Affine(5.0)

    def _trained(self, values: Tensor, monotone: Monotone | None) -> tuple[AnyConditional, History]:
        def make() -> AnyConditional:
            with borrowed_randomness(torch.device("cpu")):
                torch.manual_seed(Draw(self.seed, "table/weights").key())
                return AnyConditional(
                    values.shape[1], self.transforms, self.hidden, monotone=monotone, dropout=dropout
                ).float()

        @torch.no_grad()
        def judge(model: AnyConditional) -> float:
            asked = ~values[held].isnan()
            return model.log_prob(spread.float(), asked, torch.zeros_like(asked)).mean().item()

        dropout = self.dropout if self.dropout is not None else 0.2 if len(values) < _FEW else 0.0
        middle = self.columns_.encode(values, torch.full_like(values, 0.5))[0]
        held, kept = self._split(len(values))
        u = Draw(self.seed, "table/judge").uniform(len(held), (values.shape[1],), torch.float64)
        spread = self.columns_.encode(values[held], u)[0]
        settings = Settings(self.steps, self.batch, self.lr, seed=self.seed, device="cpu")
        model, history = doubled(
            make,
            lambda model: Rows(values[kept], middle[kept], self.columns_, model, self.conditionals),
            settings,
            self.progress,
            judge if len(held) else None,
        )
        return model.double().eval(), history

    def _split(self, n: int) -> tuple[Tensor, Tensor]:
        """Rows held out and kept; none held out of tables too large to be learned by heart."""
        held = int(self.held_out * n) if self.steps * self.batch > _EPOCHS * n else 0
        return Draw(self.seed, "table/held_out").permutation(n).tensor_split([held])  # pyright: ignore

    def _filled(self, values: Tensor, seed: int | None, first: int = 0) -> tuple[np.ndarray, ...]:
        """The columns of values with what is missing drawn given the rest."""
        filled = self._density.filled(values, self.seed if seed is None else seed, first)
        return cells(filled.numpy(), self.columns_.kinds)

    @property
    def _density(self) -> TableDensity:
        return TableDensity(self.columns_, self.model_, self.conditionals > 0, self.draws, self.seed)

    def _values(self, X: Any) -> Tensor:
        self._fitted()
        return self._read(frame(X))

    def _read(self, given: Frame) -> Tensor:
        self._fitted()
        if len(given.names) != self.n_features_in_:
            wanted = f"{self.n_features_in_} features as input"
            got = f"X has {len(given.names)} features, but FlowDensity is expecting {wanted}"
            raise DataError(explain("the columns of the table learned from", got, "Give the same columns."))
        named = given.maker is not None and self.frame_.maker is not None
        if named and given.names != self.frame_.names:
            got = f"{list(given.names)[:12]}"
            fix = "The feature names should match those that were passed during fit."
            raise DataError(explain(f"columns {list(self.frame_.names)[:12]}", got, fix))
        return torch.from_numpy(numbers(given, self.columns_.kinds))

    def _places(self, names: Any) -> list[int]:
        self._fitted()
        if isinstance(names, str | int | np.integer) or (isinstance(names, tuple) and names in self.frame_.names):
            names = [names]
        names = list[Any](names)
        for name in names:
            if name not in self.frame_.names:
                raise ConfigError(explain("names of columns", repr(name), f"There are {list(self.frame_.names)[:12]}."))
        return [self.frame_.names.index(name) for name in names]

    def _fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise not_fitted(self)


def _count(n_samples: Any) -> int:
    """A number of rows: any kind of whole number, none below 0."""
    try:
        n = operator.index(n_samples)
    except TypeError:
        n = -1
    if n < 0:
        raise ConfigError(explain("n_samples of 0 or more", repr(n_samples), "Give it a whole number."))
    return n


def _alone(name: Any, value: Any) -> np.ndarray:
    """One value as a column of one row."""
    if np.ndim(value) > 0:
        fix = "Ask once for each; for rows that have values of their own, leave the others missing and use impute."
        raise DataError(explain(f"one value given for column {name!r}", repr(value)[:60], fix))
    cell = np.empty(1, dtype=object)
    cell[0] = value
    return cell
