"""Weights by name: out of a module, into a module, and what to say when they do not fit.

Parameters that are shared between layers appear once, under their first name, because a safetensors file
may not hold one storage twice. A module whose parameters were laid out otherwise in an earlier release says so in
`former`, by name and the names of the parts in order: those of old runs are then put together, flat, one after another.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from pushforward._errors import RunError, explain
from pushforward.training.distributed import local, part, whole


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and lasting buffers by name, whole; a collective call where they are sharded."""
    return {name: whole(local(tensor), tensor) for name, tensor in _named(module).items()}


@torch.no_grad()
def put_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy whole tensors into a module, in place.

    Raises:
        RunError: a name or a shape that is not the module's.
    """
    named, tensors = _named(module), up_to_date(module, tensors)
    odd = sorted(named.keys() ^ tensors.keys())
    if odd:
        side = "the file alone" if odd[0] in tensors else "the model alone"
        raise RunError(explain("the weights of this model", f"{odd[0]!r}, which is in {side}", _OTHER))
    for name, tensor in named.items():
        fitting(tensors, name, tensor)
    for name, tensor in named.items():
        local(tensor).copy_(part(tensors[name], tensor))


def up_to_date(module: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The same under the names of this release: weights, and whatever is named after them (`w.exp_avg`, `0.05/w`)."""
    found = dict(tensors)
    for name, parts in _former(module):
        for key in [key for key in tensors if f"{key.rpartition('/')[2]}.".startswith(f"{parts[0]}.")]:
            keys = [key.replace(parts[0], part) for part in parts]
            if found.keys() >= set(keys):
                found[key.replace(parts[0], name)] = _joined([found.pop(each) for each in keys])
    return found


def _former(module: nn.Module) -> Iterator[tuple[str, list[str]]]:
    for place, inner in module.named_modules():
        for name, parts in getattr(inner, "former", {}).items():
            now, *then = (f"{place}.{each}" if place else each for each in (name, *parts))
            yield now, then


def _joined(parts: list[Tensor]) -> Tensor:
    """Counts of updates are the same for all; matrices become one row."""
    if not parts[0].ndim:
        return parts[0]
    flat = torch.cat([part.flatten() for part in parts])
    return flat if parts[0].ndim == 1 else flat[None]


def fitting(tensors: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    """The tensor of this name.

    Raises:
        RunError: there is none, or its shape is another than that of `like`.
    """
    if name not in tensors:
        raise RunError(explain("the weights of this model", f"none for {name!r}", _OTHER))
    if tensors[name].shape != like.shape:
        got = f"{tuple(tensors[name].shape)} for {name!r}"
        raise RunError(explain(f"weights of shape {tuple(like.shape)}", got, _OTHER))
    return tensors[name]


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The first name whose tensor holds NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return name
    return None


_OTHER = "Use the model these weights were trained with."


def _named(module: nn.Module) -> dict[str, Tensor]:
    lasting = module.state_dict(keep_vars=True).keys()
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor for name, tensor in named if name in lasting}
