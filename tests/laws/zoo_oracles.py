"""Every oracle, as a function of path and prediction, and the events' spread that samples of it have."""

import torch

from pushforward import models


def events(n=9, shape=(2,), seed=0):
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


COVARIANCE = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)

ORACLES = {
    "gaussian": lambda path, prediction: models.gaussian(0.3, 0.5, path, prediction, shape=(2,)),
    "gaussian of two widths": lambda path, prediction: models.gaussian(
        torch.tensor([0.3, -1.0]), torch.tensor([0.5, 0.1]), path, prediction
    ),
    "gaussian with covariance": lambda path, prediction: models.gaussian(
        0.2, path=path, prediction=prediction, shape=(2,), covariance=COVARIANCE
    ),
    "mixture": lambda path, prediction: models.mixture(
        [1.0, 3.0, 2.0], [[1.0, 0.0], [-1.0, 0.5], [0.0, 0.2]], [0.2, 0.4, 0.3], path, prediction, labels=[0, 1, 0]
    ),
    "mixture of ellipses": lambda path, prediction: models.mixture(
        [0.5, 0.5], [[1.0, 0.0], [-1.0, 0.5]], torch.tensor([[0.2, 0.5], [0.6, 0.3]]), path, prediction
    ),
    "ring": lambda path, prediction: models.ring(5, 1.0, 0.2, path, prediction),
    "empirical of one width": lambda path, prediction: models.empirical(
        events(), path, prediction, labels=torch.arange(9) % 3, std=0.3
    ),
    "empirical": lambda path, prediction: models.empirical(events(), path, prediction),
}

SMOOTH = [name for name in ORACLES if name != "empirical"]
"""Those with a density at every time; the empirical one has none where sigma is 0."""
