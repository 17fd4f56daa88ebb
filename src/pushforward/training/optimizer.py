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

from pushforward._errors import RunError, explain
from pushforward._recipe import Settings
from pushforward.training.distributed import local, part, whole

_FUSED = frozenset({"cpu", "cuda", "mps"})
_PARTS = ("exp_avg", "exp_avg_sq", "step")


class AdamW:
    """The state of AdamW by the names of the parameters.

    Args:
        named: the parameters to train, by name.
        settings: betas and weight decay.
    """

    def __init__(self, named: Mapping[str, nn.Parameter], settings: Settings) -> None:
        self._settings = settings
        self._named = dict(named)
        self._state: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        for name, parameter in self._named.items():
            zero = torch.zeros_like(local(parameter), memory_format=torch.preserve_format)
            device = zero.device if zero.device.type != "cpu" else None
            self._state[name] = (zero, zero.clone(), torch.zeros((), dtype=torch.float32, device=device))
        decays = {name: bool(settings.weight_decay) and p.ndim >= 2 for name, p in self._named.items()}
        self._groups = [
            (decay, [name for name in self._named if decays[name] is decay])
            for decay in sorted(set(decays.values()))
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
        for decay, names in self._groups:
            known = [name for name in names if self._named[name].grad is not None]
            parameters = [self._named[name] for name in known]
            gradients = [local(p.grad) for p in parameters if p.grad is not None]
            if not gradients:
                continue
            fused = gradients[0].device.type in _FUSED
            if not fused and divisor is not None:
                torch._foreach_div_(gradients, divisor)
            states = [self._state[name] for name in known]
            adamw(
                [local(p) for p in parameters],
                gradients,
                [state[0] for state in states],
                [state[1] for state in states],
                [],
                [state[2] for state in states],
                fused=fused,
                foreach=not fused,
                grad_scale=divisor if fused else None,
                found_inf=skip if fused else None,
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=lr,
                weight_decay=self._settings.weight_decay if decay else 0.0,
                eps=1e-8,
                maximize=False,
            )

    def tensors(self) -> dict[str, Tensor]:
        """The state as whole tensors "parameter.exp_avg", ".exp_avg_sq" and ".step"; a collective call."""
        named: dict[str, Tensor] = {}
        for name, (mean, square, count) in self._state.items():
            like = self._named[name]
            named |= dict(
                zip((f"{name}.{key}" for key in _PARTS), (whole(mean, like), whole(square, like), count))
            )
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
            mean.copy_(part(named[f"{name}.exp_avg"], self._named[name]))
            square.copy_(part(named[f"{name}.exp_avg_sq"], self._named[name]))
            count.copy_(named[f"{name}.step"])


_OTHER = "Resume with the model the run was begun with, or use another folder."


def gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The gradients there are, on this process."""
    return [local(p.grad) for p in parameters if p.grad is not None]
