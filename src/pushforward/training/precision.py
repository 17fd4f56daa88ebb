"""Which arithmetic the network runs in, and the scale that keeps fp16 gradients from vanishing.

    auto   bf16 on GPUs that have it, fp32 elsewhere (on CPUs autocast costs more than it gains)
    bf16   autocast; weights, optimizer and losses stay fp32
    fp16   autocast; the loss is multiplied by a scale S, the gradient divided by it; S halves when the
           gradient overflows (that update is left out) and doubles after 2000 updates that did not

A processor without instructions for a dtype imitates it, many times slower than fp32: a warning says so.

References: Micikevicius et al. 2017 (arXiv 1710.03740).
"""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from pushforward._recipe import Settings

_PATIENCE = 2_000
_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_INSTRUCTIONS = {
    torch.bfloat16: ("avx512_bf16", "amx_bf16", "bf16"),
    torch.float16: ("avx512_fp16", "amx_fp16", "fp16_arith"),
}


def resolve(settings: Settings, device: torch.device) -> torch.dtype | None:
    """The dtype to autocast to; None is fp32 without autocast."""
    if settings.precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and native(torch.bfloat16, device) else None
    dtype = _DTYPES[settings.precision]
    if dtype is not None and not native(dtype, device):
        told = f"This processor has no {settings.precision} of its own and imitates it, many times slower than fp32."
        warnings.warn(f"{told} Ask for precision='fp32' (--precision fp32).", stacklevel=2)
    return dtype


def native(dtype: torch.dtype, device: torch.device | str = "cpu") -> bool:
    """Whether a device has instructions for products in bf16 or fp16, as far as torch can tell.

    Args:
        dtype: torch.bfloat16 or torch.float16.
        device: where; whatever is neither a CPU nor an NVIDIA or AMD GPU is taken to have them.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return dtype is torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    known = getattr(torch.cpu, "get_capabilities", None)  # not in every torch
    if kind != "cpu" or known is None:
        return True
    there = known()
    return any(there.get(name, False) for name in _INSTRUCTIONS[dtype])


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
