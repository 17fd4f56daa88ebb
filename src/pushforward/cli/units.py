"""What a run must know about its data to speak in their units: kept in the run folder as `data.toml`.

Samples leave a model in the model's units. To write a table with its columns, or an image with its levels, long after
the data have moved elsewhere, a run carries the scaling, the names, and where the data were.

    value = (x - offset) / scale,     floored and clamped to 0..levels-1 where the data are levels
"""

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from tyro.conf import arg

import pushforward as pf
from pushforward import _config
from pushforward._errors import ConfigError, DataError, PushforwardError, RunError, explain

if TYPE_CHECKING:
    import torch

FILE = "data.toml"


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read the data."""

    columns: Annotated[tuple[str, ...], arg(metavar="NAME [NAME ...]")] = ()
    """Which columns of a table; by default all."""
    kinds: Annotated[tuple[str, ...], arg(metavar="NAME=KIND [NAME=KIND ...]")] = ()
    """What columns of a table hold, for nsf and maf: real, positive, bounded:LOW:HIGH, circular:PERIOD, integer or
    integer:LOW:HIGH, categorical. By default words are categorical and whole numbers integer."""
    array: Annotated[str | None, arg(metavar="NAME")] = None
    """Which array of an .npz."""
    size: Annotated[int | None, arg(metavar="INT")] = None
    """Crop and resize images to this side, in pixels."""
    held_out: Annotated[float | None, arg(metavar="SHARE")] = None
    """Share of the data that is never trained on; 0.2 where the data bring no split of their own."""
    bad_rows: Literal["error", "skip"] | None = None
    """What to do with rows or images that cannot be used: say which they are and stop, or leave them out."""

    def open(
        self,
        path: str,
        ledger: "pf.data.Ledger | None" = None,
        scaling: "pf.data.Scaling | None" = None,
        columns: tuple[str, ...] = (),
    ) -> "pf.data.Dataset":
        """The data set of this name or path; what is left out of it is written into the ledger.

        Args:
            path: where it is.
            ledger: of what is left out.
            scaling: of another data set, whose units it gets.
            columns: which of a table, where the options name none.
        """
        options = {name: getattr(self, name) for name in ("array", "size", "held_out", "bad_rows")}
        if ledger is not None and self.bad_rows == "skip":
            options["bad_rows"] = ledger
        try:
            return pf.data.open_data(path, columns=self.columns or columns or None, scaling=scaling, **options)
        except PushforwardError as error:
            raise type(error)(as_flags(str(error))) from error


_ANYTHING: Final = "or take --model nsf, which learns words and holes too"


def as_flags(message: str) -> str:
    """The library's advice in the words of the command line.

    >>> as_flags("Repair them, or pass bad_rows='skip'. Choose columns=['a', 'the b'].")
    "Repair them, or pass --bad-rows skip. Choose --columns a 'the b'."
    >>> as_flags("Leave the column out, or declare it 'categorical'.")
    'Leave the column out, or say --kinds NAME=categorical.'
    """

    def listed(found: re.Match[str]) -> str:
        names = re.findall(r"'([^']*)'", found[1])
        return f"--columns {shlex.join(names)}"

    message = re.sub(r"\bcolumns=\[([^]]*)\]", listed, message)
    message = re.sub(r"\bsize=(\d+)", r"--size \1", message)
    message = re.sub(r"(Choose columns of numbers: --columns [^.]*)\.$", rf"\1, {_ANYTHING}.", message)
    message = re.sub(r"\bdeclare it '(\w+)'", r"say --kinds NAME=\1", message)
    return re.sub(r"\b(bad_rows|array)='([^']*)'", lambda f: f"--{f[1].replace('_', '-')} {f[2]}", message)


@dataclass(frozen=True, slots=True)
class Units:
    """The units of a run's data.

    Args:
        path: where the data were: a name, or an absolute path.
        name: what they are called.
        events: what they are: image, table, points or array.
        shape: of one event.
        offset: of the scaling, one number or one per component.
        scale: of the scaling, likewise.
        levels: whole-number levels of the values, or None.
        columns: names of a table's columns.
        labels: names of the classes that the model is conditioned on; none if it is not.
        reading: how the data were read.
        source: where the data were that samples start from, likewise; "" for noise.
    """

    path: str
    name: str
    events: str
    shape: tuple[int, ...]
    offset: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    levels: int | None = None
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    reading: Reading = Reading()
    source: str = ""

    @property
    def scaling(self) -> "pf.data.Scaling":
        """Between the data's own units and the model's."""
        return pf.data.Scaling(self._spread(self.offset), self._spread(self.scale), self.levels)

    def values(self, x: "torch.Tensor") -> "torch.Tensor":
        """Samples in the data's own units, [n, *shape] in float64, or uint8 where they are at most 256 levels."""
        import torch

        raw = self.scaling.to_values(x.detach().cpu().double())
        return raw.to(torch.uint8) if self.levels is not None and self.levels <= 256 else raw

    def to_model(self, values: "torch.Tensor") -> "torch.Tensor":
        """Values in the data's own units as the model sees them, levels in the middle of their cells."""
        return self.scaling.to_model(values.double()).float()

    def classes(self, n: int, first: int, label: str | None) -> "torch.Tensor | None":
        """The class of each of `n` samples: this one, or all in turn; None for a run without classes.

        Raises:
            ConfigError: a class that the run does not know.
        """
        import torch

        if not self.labels and label is not None:
            got = f"--label {label} for a run trained without"
            raise ConfigError(explain("a run trained with --conditional", got, "Leave --label out."))
        if not self.labels:
            return None
        if label is None:
            return torch.arange(first, first + n) % len(self.labels)
        if label not in self.labels:
            expected = f"a class of the run ({', '.join(self.labels)})"
            raise ConfigError(explain(expected, f"--label {label}", "Choose one."))
        return torch.full((n,), self.labels.index(label))

    def _spread(self, numbers: tuple[float, ...]) -> "torch.Tensor | float":
        import torch

        if len(numbers) == 1:
            return numbers[0]
        return torch.tensor(numbers, dtype=torch.float64).reshape(self.shape)


def units_of(data: "pf.data.Dataset", path: str, reading: Reading | None = None, conditional: bool = False) -> Units:
    """The units of a data set that was opened from `path`."""
    import torch

    def numbers(part: "torch.Tensor | float") -> tuple[float, ...]:
        if not isinstance(part, torch.Tensor):
            return (float(part),)
        return tuple(part.detach().cpu().double().expand(data.shape).flatten().tolist())

    return Units(
        path=lasting(path),
        name=data.name,
        events=data.kind,
        shape=data.shape,
        offset=numbers(data.scaling.offset),
        scale=numbers(data.scaling.scale),
        levels=data.scaling.levels,
        columns=data.columns,
        labels=data.labels if conditional else (),
        reading=reading or Reading(),
    )


def lasting(path: str) -> str:
    """A name as it is, a path as one that holds from everywhere."""
    from pushforward.data.opening import BUILT_IN

    return path if path in BUILT_IN or not Path(path).exists() else str(Path(path).resolve())


def write_units(units: Units, run: Path) -> None:
    """Keep the units in a run folder."""
    _config.write(units, run / FILE)


def read_units(run: Path) -> Units:
    """The units a run folder keeps.

    Raises:
        RunError: it keeps none.
    """
    if not (run / FILE).is_file():
        got = f"{str(run)!r}, which {f'has no {FILE}' if run.exists() else 'does not exist'}"
        raise RunError(explain("a run made by pushforward train", got, "Check the path."))
    return _config.from_table(Units, _config.read(run / FILE))


def data_of(run: Path, path: str | None = None) -> "tuple[Units, pf.data.Dataset]":
    """A run's data set, opened again, with the units of the run.

    Args:
        run: the run folder.
        path: where the data are now, if they have moved.

    Raises:
        RunError: the events there have another shape than the run's.
        DataError: there are no data.
    """
    units = read_units(run)
    if path is None and Path(units.path).is_absolute() and not Path(units.path).exists():
        got = f"nothing at {units.path!r}"
        raise DataError(explain(f"the data of {str(run)!r}", got, "Say where they are now by --data."))
    data = units.reading.open(path or units.path)
    if data.shape != units.shape:
        got = f"{data.describe()}, where the run learned events of shape {units.shape}"
        raise RunError(explain("the data of the run", got, "Name the right ones by --data."))
    return units, data


def moved(units: Units, path: str | None) -> Units:
    """The units, with where the data are now."""
    return units if path is None else replace(units, path=lasting(path))
