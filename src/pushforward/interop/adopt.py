"""Other people's networks as our models, and our models as other people's networks.

A network is normalised once, at the door: `adopt` puts it behind our time, our direction and our order of
arguments, and from then on it is a `Diffusion` like any other, with samples by every solver, exact likelihoods and
a change of path. `to_convention` is the way out.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from torch import Tensor, nn

from pushforward import paths
from pushforward._typing import Context, Sample, Time, per_sample
from pushforward.interop.convention import Convention, convention, unpack
from pushforward.models import Diffusion
from pushforward.solvers import Solver

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


def adopt(
    net: nn.Module | Callable[..., Any],
    name: str | Convention,
    shape: tuple[int, ...],
    *,
    extras: Mapping[str, object] = _NOTHING,
    solver: Solver | None = None,
    **changes: Any,
) -> Diffusion:
    """Somebody else's network as a `Diffusion`; the network is shared, not copied.

    Args:
        net: their network (already preconditioned, where it is a denoiser).
        name: a row of `CONVENTIONS`, or a row of your own.
        shape: the shape of one event.
        extras: arguments handed to every call, by name (pooled prompts, guidance, ...), on the device they are needed
            on. The model's own `context` goes under the name that the row's `call` gives it.
        solver: the model's default solver.
        changes: fields of the row that are otherwise: `path`, `prediction` (a name will do), `time`, `call`.

    Raises:
        ConfigError: an unknown convention (the message lists the known) or field.

    >>> import torch
    >>> theirs = lambda x, t: -x  # data - noise, for data at the origin
    >>> adopt(theirs, "flow_matching", (2,)).velocity(torch.ones(1, 2), torch.ones(1))
    tensor([[1., 1.]])
    """
    row = (convention(name) if isinstance(name, str) else name).changed(**changes)
    return Diffusion(_Inward(net, row, extras), row.path, row.prediction, shape=tuple(shape), solver=solver)


def to_convention(model: Diffusion, name: str | Convention, **changes: Any) -> nn.Module:
    """Our model as a network in somebody else's convention, for their samplers; the weights are shared.

    Whatever path and prediction the model was trained with, it answers as a network of theirs would: same
    arguments, same time, same kind of output.

    Args:
        model: the model.
        name: a row of `CONVENTIONS`, or a row of your own.
        changes: as for `adopt`.

    Raises:
        ConfigError: an unknown convention or field.
    """
    row = (convention(name) if isinstance(name, str) else name).changed(**changes)
    return _Outward(model, row)


def from_scheduler(config: Mapping[str, Any]) -> dict[str, Any]:
    """The path and the prediction in a `scheduler_config.json` of the diffusers format, for `adopt(net, "ddpm", ...)`.

    Reads num_train_timesteps, beta_schedule, beta_start, beta_end, trained_betas, rescale_betas_zero_snr and
    prediction_type; the rest concerns their samplers.

    Raises:
        ConfigError: a schedule or a prediction that is not known.

    >>> from_scheduler({"beta_schedule": "linear", "prediction_type": "v_prediction"})
    {'path': Discrete(steps=1000), 'prediction': 'v_prediction'}
    """
    betas = config.get("trained_betas")
    if betas is not None:
        path = paths.Discrete.from_betas(tuple(betas))
    else:
        path = paths.Discrete.scheduled(
            config.get("beta_schedule", "linear"),
            config.get("beta_start", 1e-4),
            config.get("beta_end", 0.02),
            config.get("num_train_timesteps", 1000),
        )
    if config.get("rescale_betas_zero_snr"):
        path = path.ending_in_noise()
    return {"path": path, "prediction": config.get("prediction_type", "epsilon")}


class Boxed(NamedTuple):
    """An output that may be read as `.sample` or as `[0]`."""

    sample: Tensor


class _Inward(nn.Module):
    """Their network behind our arguments."""

    def __init__(self, net: Callable[..., Any], row: Convention, extras: Mapping[str, object]) -> None:
        super().__init__()
        self.net, self.row, self.extras = net, row, dict(extras)

    def forward(self, x: Sample, t: Time, context: Context = None) -> Sample:
        row = self.row
        # a Diffusion hands its network inputs of unit size; theirs scales its own
        x = x / per_sample(row.prediction.input_scale(row.path.coefficients(t)), x)
        given = {} if context is None else {row.call.context: context}
        output = row.call.make(self.net, x, row.time.theirs(t, row.path), {**self.extras, **given})
        return row.sign * unpack(output, x)


class _Outward(nn.Module):
    """Our model behind their arguments."""

    def __init__(self, model: Diffusion, row: Convention) -> None:
        super().__init__()
        same = model.path == row.path and model.prediction == row.prediction
        self.model, self.row = model if same else model.on(row.path, row.prediction), row

    def forward(self, *arguments: Any, **named: Any) -> Tensor | Boxed:
        row = self.row
        x, time, context = row.call.take(self.model.shape, *arguments, **named)
        t = row.time.ours(time, row.path)
        output = row.sign * self.model.predict(row.prediction, x, t, context)
        output = output.flatten(1) if row.call.joined else output
        return Boxed(output) if row.boxed else output
