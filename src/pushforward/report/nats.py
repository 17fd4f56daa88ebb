"""Nats, and the unit they are in: log-likelihoods of several papers side by side.

A log-density belongs to a space. For D numbers brought from one interval to another by a map that is affine,

    nats on (low, high)  =  nats on (a, b)  +  D log (b - a)/(high - low)
    bits/dim             =  log2 (levels / width) - nats / (D log 2),       width of the interval the levels fill

so 1980.50 nats on [0, 1] with 784 pixels of 256 levels are 8 - 1980.50/(784 log 2) = 4.356 bits/dim, and 5371.78
nats on [-1, 1] with 3072 are 7 - 5371.78/(3072 log 2) = 4.477. A space that is not an affine image of the values, the
logits of MAF's figures say, has another log-determinant for every event: of those nats alone no other unit follows,
and asking for one is an error. `bits` measures all the spaces of a model at once.

References: Dinh, Krueger, Bengio 2014 (arXiv 1410.8516) reports on [0, 1] and [-1, 1], Papamakarios et al. 2017
(arXiv 1705.07057) in logit space, Theis et al. 2016 (arXiv 1511.01844) says why bits/dim of spread levels are a bound.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from pushforward._errors import ConfigError, explain
from pushforward._typing import PerSample, Sample
from pushforward.models import Model, NormalizingFlow
from pushforward.report.estimate import Estimate, mean
from pushforward.transforms import Logit, Permutation, Reshape

if TYPE_CHECKING:
    from pushforward.data import Dataset


@dataclass(frozen=True, slots=True)
class Nats:
    """A mean log-density of events of `dimensions` numbers, with its unit.

    Args:
        mean: nats per event.
        dimensions: numbers in an event.
        low, high: the interval the values fill, one or all of them; nan in a space no affine map leads to.
        space: what that space is called, for printing; the interval by default.

    Raises:
        ConfigError: no dimension, or an empty interval.

    >>> nice = Nats(Estimate(1980.50), 784)
    >>> print(nice, "|", nice.bits(256), "|", nice.on(0, 256))
    1980 nats on [0, 1] | 4.356 | -2367 nats on [0, 256]
    """

    mean: Estimate
    dimensions: int
    low: float = 0.0
    high: float = 1.0
    space: str = ""

    def __post_init__(self) -> None:
        if self.dimensions < 1 or self.low >= self.high:
            got = f"{self.dimensions} on [{self.low}, {self.high}]"
            raise ConfigError(explain("dimensions on an interval low < high", got, "Images have [0, 1] or [-1, 1]."))

    def on(self, low: float, high: float) -> "Nats":
        """The same likelihood of values scaled to another interval.

        Raises:
            ConfigError: from a space no affine map leads to.
        """
        more = self.dimensions * math.log(self._width("nats elsewhere") / (high - low)) if high > low else 0.0
        return replace(self, mean=Estimate(self.mean.value + more, self.mean.error), low=low, high=high, space="")

    def bits(self, levels: int = 256) -> Estimate:
        """Bits per dimension of whole numbers 0..levels-1 that fill the interval.

        Raises:
            ConfigError: from a space no affine map leads to.
        """
        scale = self.dimensions * math.log(2)
        whole = math.log2(levels / self._width("bits/dim"))
        return Estimate(whole - self.mean.value / scale, self.mean.error / scale)

    def __str__(self) -> str:
        return f"{self.mean} nats {self.space or f'on [{self.low:g}, {self.high:g}]'}"

    def _width(self, wanted: str) -> float:
        if not math.isfinite(self.high - self.low):
            fix = "Each event has its own log-determinant there: measure with report.bits, which gives all units."
            raise ConfigError(explain(f"an interval to give {wanted} from", f"nats {self.space}", fix))
        return self.high - self.low


def spaces(model: Model, data: "Dataset", x: Sample, log_prob: PerSample) -> tuple[Nats, ...]:
    """The mean of `log_prob` in every unit its events have had on their way into the model.

    On [0, 1], on the interval of the model's units, and in the logits of a flow that begins with `Logit`; of values
    without levels, in their own units and in the model's.

    Args:
        model: whose log-densities they are.
        data: whose units the values have.
        x: the events in the model's units.
        log_prob: theirs, nats per event in the model's units.
    """
    size, log_prob = math.prod(data.shape), log_prob.double().cpu()
    values = -data.bits_per_dim(log_prob) * size * math.log(2)
    if data.scaling.levels is None:
        found = [Nats(mean(values), size, math.nan, math.nan, "in the units of the data")]
        found.append(Nats(mean(log_prob), size, math.nan, math.nan, "in the model's units"))
    else:
        found = [Nats(mean(values), size, 0.0, data.scaling.levels).on(0.0, 1.0)]
        first, last = torch.zeros(1, *data.shape), torch.full((1, *data.shape), float(data.scaling.levels))
        low, high = (data.scaling.to_model(ends, torch.zeros_like(ends)) for ends in (first, last))
        if bool((low == low.flatten()[0]).all() and (high == high.flatten()[0]).all()):
            found.append(Nats(mean(log_prob), size, low.flatten()[0].item(), high.flatten()[0].item()))
    logits = _logits(model, x)
    if logits is not None:
        space = f"in logit space (alpha = {logits[0]:g})"
        found.append(Nats(mean(log_prob - logits[1].double().cpu()), size, math.nan, math.nan, space))
    return tuple(dict.fromkeys(found))


def _logits(model: Model, x: Sample) -> tuple[float, PerSample] | None:
    """alpha and ladj of the logit a flow begins with, if it does."""
    if not isinstance(model, NormalizingFlow):
        return None
    for transform in model.chain:
        x, ladj = transform.encode(x) if isinstance(transform, Permutation | Reshape | Logit) else (x, None)
        if ladj is None:
            return None
        if isinstance(transform, Logit):
            return transform.alpha, ladj
    return None
