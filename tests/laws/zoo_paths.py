"""Every path and every prediction the library has, for the laws."""

import torch

from pushforward import paths

PATHS = {
    "linear": paths.Linear(),
    "linear from some noise": paths.Linear(sigma_min=0.01),
    "polynomial": paths.Polynomial(2.0),
    "vp": paths.VP(),
    "sub vp": paths.SubVP(),
    "cosine": paths.Cosine(),
    "ve": paths.VE(),
    "edm": paths.EDM(),
    "discrete": paths.Discrete.scheduled(),
    "discrete to noise": paths.Discrete.scheduled().ending_in_noise(),
    "custom": paths.Custom(alpha=lambda t: 1 - t**2, sigma=lambda t: torch.sin(t)),
}

PREDICTIONS = {
    "x0": paths.x0,
    "eps": paths.eps,
    "v": paths.v,
    "velocity": paths.velocity,
    "score": paths.score,
    "edm": paths.edm(0.5),
}
