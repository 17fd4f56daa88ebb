"""Paths from data to noise, and what a network may predict along them.

`Linear`, `Polynomial`, `VP`, `SubVP`, `Cosine`, `VE`, `EDM`, `Discrete` and `Custom` are paths: alpha(t), sigma(t) and
the SDEs they belong to. `x0`, `eps`, `v`, `velocity`, `score`, `edm()` and `reverse()` are predictions: rows of the one
table in `prediction`. `convert` turns any into any other, `bridge` says by which numbers. `preconditioning` is how a
network is told x and t. `Uniform`, `LogitNormal`, `LogNormal`, `Mode`, `CosMap` and `Stops` draw times; `Independent`,
`OptimalTransport` and `Source` pair data with noise; `SineSquared` and `BrownianBridge` are noise between two data
sets. Imports the bottom shelf alone.
"""

from pushforward.paths.coupling import Coupling, Independent, Source
from pushforward.paths.custom import Custom
from pushforward.paths.discrete import Discrete
from pushforward.paths.latent import BrownianBridge, Latent, SineSquared
from pushforward.paths.linear import Linear, Polynomial
from pushforward.paths.optimal_transport import OptimalTransport
from pushforward.paths.path import Coefficients, Path
from pushforward.paths.preconditioning import Preconditioning, preconditioning
from pushforward.paths.prediction import (
    Prediction,
    Row,
    bridge,
    convert,
    edm,
    eps,
    named,
    recast,
    score,
    solve,
    v,
    velocity,
    x0,
)
from pushforward.paths.sde import Reverse, reverse
from pushforward.paths.times import (
    CosMap,
    LogitNormal,
    LogNormal,
    Mode,
    Spread,
    Stops,
    TimeDistribution,
    Uniform,
    uniforms,
)
from pushforward.paths.variance_exploding import EDM, VE
from pushforward.paths.variance_preserving import VP, Cosine, SubVP

__all__ = [
    "BrownianBridge", "Coefficients", "CosMap", "Cosine", "Coupling", "Custom", "Discrete", "EDM", "Independent",
    "Latent", "Linear", "LogNormal", "LogitNormal", "Mode", "OptimalTransport", "Path", "Polynomial",
    "Preconditioning", "Prediction", "Reverse", "Row", "SineSquared", "Source", "Spread", "Stops", "SubVP",
    "TimeDistribution", "Uniform", "VE", "VP", "bridge", "convert", "edm", "eps", "named", "preconditioning", "recast",
    "reverse", "score", "solve", "uniforms", "v", "velocity", "x0",
]  # fmt: skip
