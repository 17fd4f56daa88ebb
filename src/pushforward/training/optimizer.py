"""AdamW over plain lists of tensors, and the norm that clipping needs.

    m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g**2
    w = w - lr (weight_decay w + m_hat / (sqrt(v_hat) + 1e-8))

The update is torch's own fused kernel, called as it is: on small models what is around it, the optimizer class and
the sorting of lists in its functional form, costs more than the kernel. Tensors are sorted once, and the counts of a
group are one tensor. Clipping and the scale of fp16 come for nothing, since the kernel divides the gradient by a
number it is given.

References: Kingma and Ba 2014 (arXiv 1412.6980); Loshchilov and Hutter 2017 (arXiv 1711.05101).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from pushforward._config import suggest
from pushforward._errors import ConfigError, RunError, explain
from pushforward._recipe import Settings
from pushforward.training.distributed import local, part, whole
from pushforward.training.weights import fitting

_FUSED = frozenset({"cpu", "cuda", "mps"})
_PARTS = ("exp_avg", "exp_avg_sq", "step")


class AdamW:
    """The state of AdamW by the names of the parameters.

    Args:
        named: the parameters to train, by name.
        settings: betas, weight decay and factors on the learning rate.

    Raises:
        ConfigError: a factor for a name that no parameter has.
    """

    def __init__(self, named: Mapping[str, nn.Parameter], settings: Settings) -> None:
        self._settings = settings
        self._named = dict(named)
        factors = _factors(self._named, settings.rates)
        kinds = {
            name: (bool(settings.weight_decay) and p.ndim >= 2, factors[name], str(p.dtype))
            for name, p in self._named.items()
        }
        self._groups = [
            _Group(
                settings.weight_decay if kind[0] else 0.0,
                kind[1],
                {name: p for name, p in self._named.items() if kinds[name] == kind},
            )
            for kind in sorted(set(kinds.values()))
        ]
        found = {name: state for group in self._groups for name, state in group.state()}
        self._state = {name: found[name] for name in self._named}

    @torch.no_grad()
    def update(self, lr: float, divisor: Tensor | None, skip: Tensor | None) -> None:
        """One update from the parameters' gradients; parameters without one stay.

        Args:
            lr: the learning rate.
            divisor: what the gradient is divided by first, a float32 scalar; None is 1.
            skip: 1.0 where nothing may change, a float32 scalar; None updates.
        """
        for group in self._groups:
            group.update(lr, self._settings.betas, divisor, skip)

    def tensors(self) -> dict[str, Tensor]:
        """The state as whole tensors "parameter.exp_avg", ".exp_avg_sq" and ".step"; a collective call."""
        named: dict[str, Tensor] = {}
        for name, (mean, square, count) in self._state.items():
            like = self._named[name]
            named |= dict(zip((f"{name}.{key}" for key in _PARTS), (whole(mean, like), whole(square, like), count)))
        return named

    @torch.no_grad()
    def restore(self, named: Mapping[str, Tensor]) -> None:
        """Take over the state of `tensors`.

        Raises:
            RunError: the names are another model's.
        """
        expected = {f"{name}.{key}" for name in self._state for key in _PARTS}
        if expected != set(named):
            odd = sorted(expected ^ set(named))[0]
            raise RunError(explain("the optimizer state of this model", f"{odd!r} on one side only", _OTHER))
        for name, (mean, square, count) in self._state.items():
            like = self._named[name]
            mean.copy_(part(fitting(named, f"{name}.exp_avg", like), like))
            square.copy_(part(fitting(named, f"{name}.exp_avg_sq", like), like))
            count.copy_(fitting(named, f"{name}.step", count))


_OTHER = "Resume with the model the run was begun with, or use another folder."


def _factors(names: Iterable[str], rates: tuple[tuple[str, float], ...]) -> dict[str, float]:
    """The factor on each parameter's learning rate: that of the last entry that names it, else 1."""
    factors = dict.fromkeys(names, 1.0)
    for ending, factor in rates:
        found = [name for name in factors if f".{name}".endswith(f".{ending}")]
        if not found:
            fix = suggest(ending, {name.rpartition(".")[2] for name in factors})
            raise ConfigError(explain("a learning rate for a parameter of the model", repr(ending), fix))
        factors |= dict.fromkeys(found, factor)
    return factors


class _Group:
    """Parameters of one type, one weight decay and one factor on the rate, and their state."""

    def __init__(self, decay: float, factor: float, named: Mapping[str, nn.Parameter]) -> None:
        self._decay, self._factor = decay, factor
        self._names, self._parameters = list(named), list(named.values())
        weights = [local(p) for p in self._parameters]
        sharded = any(hasattr(p, "device_mesh") for p in self._parameters)
        self._weights = None if sharded else weights  # those of FSDP2 may move
        self._means = [torch.zeros_like(each, memory_format=torch.preserve_format) for each in weights]
        self._squares = [each.clone() for each in self._means]
        self._count = torch.zeros(len(weights), dtype=torch.float32, device=weights[0].device)
        self._counts = list(self._count.unbind())

    def state(self) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor]]]:
        """The mean, the mean of squares and the count of each parameter, by name."""
        return zip(self._names, zip(self._means, self._squares, self._counts))

    def update(self, lr: float, betas: tuple[float, float], divisor: Tensor | None, skip: Tensor | None) -> None:
        """One update of the parameters that have a gradient."""
        weights, gradients, means, squares, counts = self._lists()
        if not gradients:
            return
        numbers: dict[str, Any] = {"lr": lr * self._factor, "beta1": betas[0], "beta2": betas[1]}
        numbers |= {"weight_decay": self._decay, "eps": 1e-8, "amsgrad": False, "maximize": False}
        if self._count.device.type not in _FUSED:
            if divisor is not None:
                torch._foreach_div_(gradients, divisor)  # pyright: ignore[reportPrivateImportUsage]
            adamw(weights, gradients, means, squares, [], counts, foreach=True, **numbers)
            return
        one = 1 if skip is None else 1 - skip
        if counts is self._counts:
            self._count.add_(one)
        else:
            torch._foreach_add_(counts, one)  # pyright: ignore[reportPrivateImportUsage]
        torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
            weights, gradients, means, squares, [], counts, grad_scale=divisor, found_inf=skip, **numbers
        )

    def _lists(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Weights, gradients and the three parts of the state, of the parameters that have a gradient."""
        found = [p.grad for p in self._parameters]
        if self._weights is not None and all(g is not None for g in found):
            return self._weights, found, self._means, self._squares, self._counts  # pyright: ignore[reportReturnType]
        rows = zip(self._parameters, found, self._means, self._squares, self._counts)
        known = [(local(p), local(g), m, v, n) for p, g, m, v, n in rows if g is not None]
        weights, gradients, means, squares, counts = map(list, zip(*known)) if known else ([] for _ in range(5))
        return weights, gradients, means, squares, counts


def norm(gradients: list[Tensor]) -> Tensor:
    """The norm of them all as one vector, a float32 scalar: 0 of none."""
    if not gradients:
        return torch.tensor(0.0)
    norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
    return torch.linalg.vector_norm(torch.stack(norms)).float()


def gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The gradients there are, on this process."""
    found = (p.grad for p in parameters)
    return [g if type(g) is Tensor else local(g) for g in found if g is not None]
