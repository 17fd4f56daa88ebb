"""AdamW over plain lists of tensors, and the norm that clipping needs.

    m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g**2
    w = w - lr (weight_decay w + m_hat / (sqrt(v_hat) + 1e-8))

The update is torch's own fused kernel, called through torch's functional form: on small models the optimizer
class around it costs more than the kernel. Clipping and the scale of fp16 come for nothing, since the kernel
divides the gradient by a number it is given.

References: Kingma and Ba 2014 (arXiv 1412.6980); Loshchilov and Hutter 2017 (arXiv 1711.05101).
"""

from collections.abc import Iterable, Mapping

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
        self._state: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        for name, parameter in self._named.items():
            zero = torch.zeros_like(local(parameter), memory_format=torch.preserve_format)
            device = zero.device if zero.device.type != "cpu" else None
            self._state[name] = (zero, zero.clone(), torch.zeros((), dtype=torch.float32, device=device))
        factors = _factors(self._named, settings.rates)
        kinds = {name: (bool(settings.weight_decay) and p.ndim >= 2, factors[name]) for name, p in self._named.items()}
        self._groups = [
            _Group(settings.weight_decay if kind[0] else 0.0, kind[1], self._named, self._state, names)
            for kind in sorted(set(kinds.values()))
            if (names := [name for name in self._named if kinds[name] == kind])
        ]

    @torch.no_grad()
    def update(self, lr: float, divisor: Tensor | None, skip: Tensor | None) -> None:
        """One update from the parameters' gradients; parameters without one stay.

        Args:
            lr: the learning rate.
            divisor: what the gradient is divided by first, a float32 scalar; None is 1.
            skip: 1.0 where nothing may change, a float32 scalar; None updates.
        """
        beta1, beta2 = self._settings.betas
        for group in self._groups:
            weights, gradients, means, squares, counts = group.lists()
            if not gradients:
                continue
            fused = gradients[0].device.type in _FUSED
            if not fused and divisor is not None:
                torch._foreach_div_(gradients, divisor)  # pyright: ignore[reportPrivateImportUsage]
            adamw(
                weights,
                gradients,
                means,
                squares,
                [],
                counts,
                fused=fused,
                foreach=not fused,
                grad_scale=divisor if fused else None,
                found_inf=skip if fused else None,
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=lr * group.factor,
                weight_decay=group.decay,
                eps=1e-8,
                maximize=False,
            )

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
    """Parameters of one weight decay and one factor on the rate. Lists that stay the same are made once."""

    def __init__(
        self,
        decay: float,
        factor: float,
        named: Mapping[str, nn.Parameter],
        state: Mapping[str, tuple[Tensor, Tensor, Tensor]],
        names: list[str],
    ) -> None:
        self.decay, self.factor = decay, factor
        self._parameters = [named[name] for name in names]
        self._means, self._squares, self._counts = map(list, zip(*(state[name] for name in names)))
        sharded = any(hasattr(p, "device_mesh") for p in self._parameters)
        self._weights = None if sharded else [p.detach() for p in self._parameters]

    def lists(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Weights, gradients and the three parts of the state, of the parameters that have a gradient."""
        found = [p.grad for p in self._parameters]
        if self._weights is not None and all(g is not None for g in found):
            return self._weights, found, self._means, self._squares, self._counts  # pyright: ignore[reportReturnType]
        rows = zip(self._parameters, found, self._means, self._squares, self._counts)
        known = [(local(p), local(g), m, v, n) for p, g, m, v, n in rows if g is not None]
        weights, gradients, means, squares, counts = map(list, zip(*known)) if known else ([] for _ in range(5))
        return weights, gradients, means, squares, counts


def gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The gradients there are, on this process."""
    found = (p.grad for p in parameters)
    return [g if type(g) is Tensor else local(g) for g in found if g is not None]
