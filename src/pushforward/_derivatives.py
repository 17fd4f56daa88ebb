"""Which derivatives are in use: quick kernels have the one that training needs, and step aside for others."""

import torch
from torch.autograd import forward_ad


def transformed() -> bool:
    """Whether a torch.func transform or forward-mode differentiation is active; never in `torch.compile`."""
    if torch.compiler.is_compiling():
        return False
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()  # pyright: ignore[reportAttributeAccessIssue]
