"""Normalizing flows of zuko, nflows and normflows as ours, with the same density and the same samples for one noise.

    theirs                                                          ours
    zuko        Flow: MAF, NSF, NCSF, NICE, RealNVP, NAF, UNAF,     data to noise, as ours
                SOSPF, BPF, GF, CNF
    nflows      Flow: MaskedAutoregressiveFlow, SimpleRealNVP ...   data to noise, as ours
    normflows   (Conditional)NormalizingFlow                        noise to data: turned round

No library of theirs is imported: a live module is recognised by the names of its classes, and read. Each layer becomes
a transform of ours around their network (`peer_networks.py`) and a map in their own parametrisation (`peer_maps.py`,
`zuko_maps.py`); matrices, fitted once, are kept as `LU`, and a field is followed by our solvers (`zuko_field.py`). What
comes out is a copy that trains, in the precision, on the device and in the mode (training or not) that theirs has.
Decoding masked autoregressive layers takes rounds, as many as the flow needs, instead of one call for each number.

What is not known is refused with the name of the layer, never guessed. There is no recipe of such a flow, so a run
folder of one is loaded by `load(run, adopt_flow(theirs))`, and unpickling one needs the library of its networks.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import nn

from pushforward._errors import ConfigError, explain
from pushforward.interop.from_nflows import nflows_flow
from pushforward.interop.from_normflows import normflows_flow
from pushforward.interop.from_zuko import zuko_flow
from pushforward.models import NormalizingFlow

PEERS: Final[Mapping[str, Callable[[Any], NormalizingFlow]]] = {
    "zuko": zuko_flow, "nflows": nflows_flow, "normflows": normflows_flow,
}  # fmt: skip
"""The libraries whose flows are known."""


def adopt_flow(flow: nn.Module) -> NormalizingFlow:
    """Somebody else's trained flow as a `NormalizingFlow` of ours, a copy.

    `log_prob`, `encode` and `decode` agree with theirs to rounding, and along a field (zuko's `CNF`) to the tolerances
    of its solver, which are kept; samples are other draws of the same distribution.
    A context is what theirs is given: `flow(c)` in zuko, `context=c` in nflows and normflows.

    Args:
        flow: a flow of zuko, nflows or normflows, with its weights.

    Raises:
        ConfigError: it is of none of them, or has a layer, a base or a setting that is not known here; the message
            says which.

    >>> adopt_flow(nn.Linear(2, 2))
    Traceback (most recent call last):
    ...
    pushforward._errors.ConfigError: Expected a flow of zuko, nflows or normflows; got a 'Linear'. Pass their module.
    """
    library = next((root for cls in type(flow).__mro__ if (root := cls.__module__.split(".")[0]) in PEERS), None)
    if library is None:
        known = " or ".join(", ".join(PEERS).rsplit(", ", 1))
        raise ConfigError(explain(f"a flow of {known}", f"a {type(flow).__name__!r}", "Pass their module."))
    with torch.no_grad():
        made = PEERS[library](copy.deepcopy(flow))
    weight = next((each for each in flow.parameters() if each.is_floating_point()), None)
    made = made if weight is None else made.to(weight)
    return made.train(flow.training)
