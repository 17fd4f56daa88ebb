"""A flow's distribution in Pyro: `pyro.sample("x", to_pyro(flow.distribution(context)))`.

Pyro's own distributions are torch's with a mixin, which adds the call that samples, masks, scores for inference and
more. The same mixin is put beside ours, so plates, traces, enumeration, guides and gradients by reparameterisation work
as with any other; where the base has no such gradients (a `Mixture` that learns its weights), Pyro takes the score
function's. Weights are registered with `pyro.module("flow", flow)`, as those of every torch module.
"""

from typing import Any

from pushforward._errors import PushforwardError, explain
from pushforward.models import ModelDistribution


def to_pyro(distribution: ModelDistribution) -> Any:
    """The same distribution as Pyro has them, sharing the model.

    Args:
        distribution: `flow.distribution(context)`.

    Raises:
        PushforwardError: Pyro is not installed.
    """
    try:
        from pyro.distributions.torch_distribution import (  # pyright: ignore[reportMissingImports]
            TorchDistributionMixin,
        )
    except ImportError as error:
        raise PushforwardError(explain("Pyro", "an installation without it", "pip install pyro-ppl.")) from error
    dialect: Any = type("PyroDistribution", (ModelDistribution, TorchDistributionMixin), {})
    return dialect(distribution.model, distribution.context, tuple(distribution.batch_shape))
