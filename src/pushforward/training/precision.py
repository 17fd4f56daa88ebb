"""Which arithmetic the network runs in, and the scale that keeps fp16 gradients from vanishing.

    auto   bf16 on GPUs that have it, fp32 elsewhere (on CPUs autocast costs more than it gains)
    bf16   autocast; weights, optimizer and losses stay fp32
    fp16   autocast; the loss is multiplied by a scale S, the gradient divided by it; S halves when the
           gradient overflows (that update is left out) and doubles after 2000 updates that did not

References: Micikevicius et al. 2017 (arXiv 1710.03740).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from pushforward._recipe import Settings

_PATIENCE = 2_000


def resolve(settings: Settings, device: torch.device) -> torch.dtype | None:
    """The dtype to autocast to; None is fp32 without autocast."""
    if settings.precision == "auto":
        gains = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if gains else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[settings.precision]


def caster(dtype: torch.dtype | None, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """A maker of contexts in which the network runs in `dtype`."""
    if dtype is None:
        return nullcontext
    return lambda: torch.autocast(device.type, dtype)


class LossScale:
    """The scale S of fp16 and how many updates it has lasted, both on the device."""

    def __init__(self, device: torch.device) -> None:
        self.value = torch.tensor(2.0**16, device=device)
        self.streak = torch.tensor(0.0, device=device)

    def overflowed(self, norm: Tensor) -> Tensor:
        """1.0 where the gradient overflowed and a smaller scale may help, else 0.0."""
        return (~norm.isfinite() & (self.value > 1)).float()

    def adapt(self, overflowed: Tensor) -> None:
        """Halve, keep or double the scale."""
        streak = (self.streak + 1) * (1 - overflowed)
        grown = torch.where(streak >= _PATIENCE, self.value * 2, self.value)
        self.value = torch.where(overflowed > 0, self.value / 2, grown)
        self.streak = torch.where(streak >= _PATIENCE, torch.zeros_like(streak), streak)

    def state(self) -> list[float]:
        """Both numbers, exactly."""
        return [self.value.item(), self.streak.item()]

    def restore(self, state: list[float]) -> None:
        """Take over what `state` returned."""
        self.value = torch.full_like(self.value, state[0])
        self.streak = torch.full_like(self.streak, state[1])
