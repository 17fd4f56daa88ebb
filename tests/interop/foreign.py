"""Perfect networks for data N(0.3, 0.5**2), each written in somebody else's convention from its own formulas.

Each row: their network's class, and alpha(t), sigma(t) of their path in our time, written a second time.
"""

import math

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import nn

MEAN, STD = 0.3, 0.5
VAR = STD**2


def over(t, x):
    return t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


class Foreign(nn.Module):
    """A network with one parameter, 1, that multiplies its output."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones((), dtype=torch.float64))

    def flow(self, x, t):
        """E[data - noise | x] on x = t data + (1 - t) noise."""
        t = over(t, x)
        total = t**2 * VAR + (1 - t) ** 2
        data = MEAN + t * VAR / total * (x - t * MEAN)
        noise = (1 - t) / total * (x - t * MEAN)
        return self.gain * (data - noise)


class FlowMatching(Foreign):
    def forward(self, *, x, t):
        return self.flow(x, t)


class TorchCFM(Foreign):
    def forward(self, t, x):
        return self.flow(x, t)


class TorchCFMMLP(Foreign):
    def forward(self, joined):
        return self.flow(joined[:, :-1], joined[:, -1])


class RectifiedFlow(Foreign):
    def forward(self, x, labels):
        return self.flow(x, labels / 999)


class SiT(Foreign):
    def forward(self, x, t):
        v = self.flow(x, t)
        return torch.cat([v, torch.full_like(v, torch.nan)], 1)  # the learned variance, to be left out


class Lumina2(Foreign):
    def forward(self, hidden_states, timestep):
        return (self.flow(hidden_states, timestep),)


class SD3(Foreign):
    """E[noise - data | x] on x = (1 - s) data + s noise, told 1000 s."""

    thousand = 1000

    def forward(self, hidden_states, timestep):
        x, s = hidden_states, over(timestep / self.thousand, hidden_states)
        total = (1 - s) ** 2 * VAR + s**2
        rest = (x - (1 - s) * MEAN) / total
        return (self.gain * (s * rest - MEAN - (1 - s) * VAR * rest),)


class Flux(SD3):
    thousand = 1


class DDPM(Foreign):
    """E[noise | x] for a chain of betas, told a real index; between indices it knows its betas as a smooth curve."""

    level = None

    def forward(self, sample, timestep):
        bar = over(self.level(timestep), sample)
        self.seen = timestep
        output = (1 - bar).sqrt() / (bar * VAR + 1 - bar) * (sample - bar.sqrt() * MEAN)
        return Output(self.gain * output)


class Output:
    def __init__(self, sample):
        self.sample = sample


class Denoiser(Foreign):
    """E[data | x] on x = data + sigma noise."""

    def forward(self, x, sigma):
        sigma = over(sigma, x)
        return self.gain * (sigma**2 * MEAN + VAR * x) / (sigma**2 + VAR)


class ScoreVP(Foreign):
    """-std * score of exp(-int beta / 2) data + std noise, beta from 0.1 to 20, told 999 t."""

    def forward(self, x, labels):
        t = over(labels / 999, x)
        log_mean = -0.25 * t**2 * (20 - 0.1) - 0.5 * t * 0.1
        std = (1 - torch.exp(2 * log_mean)).sqrt()
        m = torch.exp(log_mean)
        return self.gain * std * (x - m * MEAN) / (m**2 * VAR + std**2)


class ScoreVE(Foreign):
    """The score of data + sigma noise, told sigma."""

    def forward(self, x, labels):
        return -self.gain * (x - MEAN) / (VAR + over(labels, x) ** 2)


BETAS = np.linspace(1e-4, 0.02, 1000)
BAR = np.cumprod(1 - BETAS)


def ddpm_level(place):
    """prod (1 - beta) at a real index, by scipy's spline: an interpolation of its own."""
    spline = CubicSpline(np.arange(1000), np.log(BAR))
    return torch.tensor(np.exp(spline(place.double().numpy())))


DDPM.level = staticmethod(ddpm_level)


def linear(t):
    return 1 - t, t


def ddpm(t):
    bar = ddpm_level(t * 999)
    return bar.sqrt(), (1 - bar).sqrt()


def edm(t):
    return torch.ones_like(t), (0.002 ** (1 / 7) + t * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7


def vp(t):
    beta = 0.1 * t + 19.9 * t**2 / 2
    return torch.exp(-beta / 2), (1 - torch.exp(-beta)).sqrt()


def ve(t):
    return torch.ones_like(t), 0.01 * torch.exp(t * math.log(5000))


FOREIGN = {
    "flow_matching": (FlowMatching, linear),
    "torchcfm": (TorchCFM, linear),
    "torchcfm_mlp": (TorchCFMMLP, linear),
    "rectified_flow": (RectifiedFlow, linear),
    "sit": (SiT, linear),
    "lumina2": (Lumina2, linear),
    "sd3": (SD3, linear),
    "flux": (Flux, linear),
    "ddpm": (DDPM, ddpm),
    "edm": (Denoiser, edm),
    "k_diffusion": (Denoiser, edm),
    "score_sde_vp": (ScoreVP, vp),
    "score_sde_ve": (ScoreVE, ve),
}
