"""A shift and a scale for each channel: learned from a start (ActNorm), or kept at the batch's (BatchNorm).

    z = (x + b) exp(s)                       ladj = places * sum s          ActNorm
    z = (x - mean) exp(g - log std) + b      ladj = places * sum (g - log std)      BatchNorm

over the leading axis; places are the numbers of one channel, 1 for a vector.

What is invertible when. ActNorm is one fixed map, always. BatchNorm in `eval()` is one too, with running statistics.
In `train()` it is not a map of a sample: mean and std come from the batch, so the result depends on the others in it,
the ladj treats them as constants, as the papers do, and is exact only in the limit of large batches; there is no
decoding, and each call moves the running statistics. Prefer ActNorm; BatchNorm is here to rebuild published models.

Running statistics are parameters without a gradient, since they are weights to a file and to a change of precision.

References:
    Kingma, Dhariwal 2018, arXiv 1807.03039 (ActNorm).
    Dinh, Sohl-Dickstein, Bengio 2016, arXiv 1605.08803, and Papamakarios et al. 2017, arXiv 1705.07057 (BatchNorm).
"""

import math

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.start import Starts
from pushforward.transforms.transform import Transform


class ActNorm(Transform, Starts):
    """A learned shift and scale for each channel, the identity until it is started from data.

    Args:
        n: channels, the length of the leading axis.

    >>> ActNorm(2).encode(torch.ones(1, 2, 3, 3))[1]
    tensor([0.], grad_fn=...)
    """

    def __init__(self, n: int):
        super().__init__()
        self.shift, self.log_scale = nn.Parameter(torch.zeros(n)), nn.Parameter(torch.zeros(n))

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        z = (x + _along(self.shift, x)) * _along(self.log_scale, x).exp()
        return z, _each(self.log_scale, x)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        x = z * (-_along(self.log_scale, z)).exp() - _along(self.shift, z)
        return x, _each(-self.log_scale, z)

    @torch.no_grad()
    def start(self, x: Sample, context: Context, std: float, inverse: bool = False) -> Sample:
        mean, log_std = _moments(x)
        wanted = math.log(std) - log_std
        if inverse:  # decode is z exp(-s) - b
            self.log_scale.copy_(-wanted)
            self.shift.copy_(mean * wanted.exp())
            return self.decode(x)[0]
        self.log_scale.copy_(wanted)
        self.shift.copy_(-mean)
        return self.encode(x)[0]


class BatchNorm(Transform):
    """Normalisation by the batch in training, by running statistics in `eval()`; read the module's caveats.

    Args:
        n: channels, the length of the leading axis.
        memory: how much of the running statistics each training call keeps, in [0, 1).

    Raises:
        ConfigError: an impossible memory; in training, decoding or a batch without spread.
    """

    def __init__(self, n: int, memory: float = 0.9):
        super().__init__()
        if not 0 <= memory < 1:
            raise ConfigError(explain("a memory in [0, 1)", f"{memory}", "0.9 suits batches of a hundred."))
        self.memory = memory
        self.shift, self.log_scale = nn.Parameter(torch.zeros(n)), nn.Parameter(torch.zeros(n))
        self.mean = nn.Parameter(torch.zeros(n), requires_grad=False)
        self.log_std = nn.Parameter(torch.zeros(n), requires_grad=False)

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        mean, log_std = self._of_batch(x) if self.training else (self.mean, self.log_std)
        s = self.log_scale - log_std
        return (x - _along(mean, x)) * _along(s, x).exp() + _along(self.shift, x), _each(s, x)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        if self.training:
            fix = "Call eval() first."
            raise ConfigError(explain("running statistics to decode with", "a BatchNorm in training", fix))
        s = self.log_scale - self.log_std
        return (z - _along(self.shift, z)) * (-_along(s, z)).exp() + _along(self.mean, z), _each(-s, z)

    def _of_batch(self, x: Sample) -> tuple[Tensor, Tensor]:
        if x.shape[0] * math.prod(x.shape[2:]) < 2:
            raise ConfigError(explain("two numbers a channel or more", "one", "Train with larger batches."))
        mean, log_std = _moments(x)
        with torch.no_grad():
            variance = torch.lerp((2 * log_std).exp(), (2 * self.log_std).exp(), self.memory)
            self.mean.copy_(torch.lerp(mean, self.mean, self.memory))
            self.log_std.copy_(0.5 * variance.log())
        return mean, log_std


def _moments(x: Sample, floor: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Mean and log-deviation of each channel; channels that vary less than `floor` count as varying so much."""
    channels = x.movedim(1, 0).flatten(1)
    variance, mean = torch.var_mean(channels, 1, correction=0)
    return mean, 0.5 * variance.clamp_min(floor**2).log()


def _along(channel: Tensor, x: Sample) -> Tensor:
    return channel.reshape(-1, *(1 for _ in x.shape[2:]))


def _each(s: Tensor, x: Sample) -> PerSample:
    return (s.sum() * math.prod(x.shape[2:])).expand(len(x))
