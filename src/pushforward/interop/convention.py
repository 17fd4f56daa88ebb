"""Everybody's conventions, in one table.

A convention says on which path somebody's network was trained, what it outputs, what it calls time and how
it is called. The library has one language (data at t = 0, noise at t = 1); a row of this table is all that
is needed to translate a network into it or out of it.

    name            path      output               their time           call
    flow_matching   linear    data - noise         1 - t                net(x=, t=)
    torchcfm        linear    data - noise         1 - t                net(t, x)
    torchcfm_mlp    linear    data - noise         1 - t                net(cat[x, t])
    rectified_flow  linear    data - noise         999 (1 - t)          net(x, t)
    sit             linear    data - noise         1 - t                net(x, t, y)
    lumina2         linear    data - noise         1 - t                net(hidden_states=, timestep=)
    sd3             linear    noise - data         1000 t               net(hidden_states=, timestep=)
    flux            linear    noise - data         t                    net(hidden_states=, timestep=)
    ddpm            table     eps                  (T - 1) t            net(sample, timestep)
    edm             EDM       denoised data        sigma                net(x, sigma)
    k_diffusion     EDM       denoised data        sigma                net(input, sigma)
    score_sde_vp    VP        eps (= -std score)   999 t                net(x, t)
    score_sde_ve    VE        score                sigma                net(x, sigma)

A velocity is a derivative by time, so its sign follows from the clock's direction and is not a column.

References: Lipman et al. 2022 (arXiv 2210.02747), Tong et al. 2023 (arXiv 2302.00482), Liu et al. 2022 (arXiv
2209.03003), Ma et al. 2024 (arXiv 2401.08740), Esser et al. 2024 (arXiv 2403.03206), Ho et al. 2020 (arXiv 2006.11239),
Karras et al. 2022 (arXiv 2206.00364), Song et al. 2021 (arXiv 2011.13456).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor

from pushforward import paths
from pushforward._config import suggest
from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Sample
from pushforward.interop.clock import Affine, Clock, NoiseLevel, Steps
from pushforward.paths import Path, Prediction


@dataclass(frozen=True, slots=True)
class Call:
    """How a network is called.

    Args:
        order: the names of its first arguments, in its order.
        x, t, context: which names stand for the state, the time and the context.
        keywords: pass state and time by name instead of by position.
        joined: pass one matrix, the flattened state with the time as its last column.
    """

    order: tuple[str, ...] = ("x", "t")
    x: str = "x"
    t: str = "t"
    context: str = "context"
    keywords: bool = False
    joined: bool = False

    def make(self, net: Callable[..., Any], x: Tensor, t: Tensor, extras: Mapping[str, object]) -> Any:
        """Call `net`."""
        if self.joined:
            return net(torch.cat([x.flatten(1), t.to(x.dtype)[:, None]], 1), **extras)
        values = {self.x: x, self.t: t}
        if self.keywords:
            return net(**values, **extras)
        return net(*(values[name] for name in self.order), **extras)

    def take(self, shape: tuple[int, ...], *positional: Any, **named: Any) -> tuple[Tensor, Tensor, Any]:
        """State, time and context from the arguments of such a call.

        Raises:
            ShapeError: state or time is missing.
        """
        if self.joined and positional:
            return positional[0][:, :-1].unflatten(1, shape), positional[0][:, -1], named.get(self.context)
        values = dict(zip((*self.order, self.context), positional)) | named
        if self.x not in values or self.t not in values:
            raise ShapeError(explain(f"a call with {self.x} and {self.t}", ", ".join(values), "Pass both."))
        x = values[self.x]
        t = torch.as_tensor(values[self.t], device=x.device, dtype=x.dtype)
        return x, t.expand(len(x)) if t.numel() == 1 else t, values.get(self.context)


@dataclass(frozen=True, slots=True)
class Convention:
    """A row of the table. Variants are made with `dataclasses.replace`, or by naming the field in `adopt`.

    Args:
        path: alpha and sigma as the network was trained, in our time.
        prediction: what it outputs, up to the sign that a reversed clock gives a velocity.
        time: how our time becomes theirs.
        call: its arguments.
        boxed: whether callers expect the output in an object with `.sample`, as the diffusers format has it.
    """

    path: Path = field(default_factory=paths.Linear)
    prediction: Prediction = paths.velocity
    time: Clock = field(default_factory=Affine)
    call: Call = field(default_factory=Call)
    boxed: bool = False

    @property
    def sign(self) -> float:
        """What their output is multiplied by: -1 for a velocity by a time that runs the other way."""
        return -1.0 if self.time.reversed and self.prediction == paths.velocity else 1.0

    def changed(self, **changes: Any) -> "Convention":
        """This convention with some fields changed; `prediction` may be a name, ours or the diffusers format's.

        Raises:
            ConfigError: a field that does not exist.
        """
        known = [each.name for each in fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigError(explain("a field of a convention", repr(name), suggest(name, known)))
        prediction = changes.get("prediction")
        if isinstance(prediction, str):
            changes["prediction"] = paths.named(_PREDICTIONS.get(prediction, prediction))
        return replace(self, **changes)


def convention(name: str) -> Convention:
    """The row of this name.

    Raises:
        ConfigError: there is none; the message lists the names.

    >>> convention("rectified_flow").time
    Affine(offset=999.0, slope=-999.0)
    """
    if name not in CONVENTIONS:
        raise ConfigError(explain(f"a convention of {', '.join(CONVENTIONS)}", repr(name), "Choose one of them."))
    return CONVENTIONS[name]


def unpack(output: Any, x: Sample) -> Tensor:
    """The tensor that matters in a network's output.

    Out of an object with `.sample`, a tuple's first place, or the first half of twice the channels (the other
    half is a learned variance, as in improved DDPM and DiT).

    Raises:
        ShapeError: the rest is not of x's shape.
    """
    output = getattr(output, "sample", output)
    output = output[0] if isinstance(output, tuple | list) else output
    if not isinstance(output, Tensor):
        raise ShapeError(explain("a tensor, a tuple or an object with .sample", type(output).__name__, "Wrap it."))
    if x.ndim > 1 and output.shape[1:] == (2 * x.shape[1], *x.shape[2:]):
        output = output[:, : x.shape[1]]
    if output.numel() == x.numel():
        output = output.reshape(x.shape)
    if output.shape != x.shape:
        fix = "Check shape= and what the network returns."
        raise ShapeError(explain(f"an output of shape {tuple(x.shape)}", str(tuple(output.shape)), fix))
    return output


_PREDICTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"epsilon": "eps", "sample": "x0", "v_prediction": "v", "flow_prediction": "velocity"}
)
"""The diffusers format's words for ours."""

_BACK: Final = Affine(1.0, -1.0)
_SAMPLE: Final = Call(("sample", "timestep"), "sample", "timestep", "encoder_hidden_states")
_HIDDEN: Final = Call(("hidden_states", "timestep"), "hidden_states", "timestep", "encoder_hidden_states", True)

CONVENTIONS: Final[Mapping[str, Convention]] = MappingProxyType(
    {
        "flow_matching": Convention(time=_BACK, call=Call(keywords=True)),
        "torchcfm": Convention(time=_BACK, call=Call(("t", "x"), context="y")),
        "torchcfm_mlp": Convention(time=_BACK, call=Call(joined=True)),
        "rectified_flow": Convention(time=Affine(999.0, -999.0)),
        "sit": Convention(time=_BACK, call=Call(context="y")),
        "lumina2": Convention(time=_BACK, call=_HIDDEN, boxed=True),
        "sd3": Convention(time=Affine(0.0, 1000.0), call=_HIDDEN, boxed=True),
        "flux": Convention(call=_HIDDEN, boxed=True),
        "ddpm": Convention(paths.Discrete.scheduled(), paths.eps, Steps(), _SAMPLE, boxed=True),
        "edm": Convention(paths.EDM(), paths.x0, NoiseLevel(), Call(("x", "sigma"), t="sigma", context="class_labels")),
        "k_diffusion": Convention(
            paths.EDM(), paths.x0, NoiseLevel(), Call(("input", "sigma"), "input", "sigma", "class_cond")
        ),
        "score_sde_vp": Convention(paths.VP(), paths.eps, Affine(0.0, 999.0)),
        "score_sde_ve": Convention(paths.VE(), paths.score, NoiseLevel()),
    }
)
"""The table."""
