"""What torch's derivatives and compiler need to be asked or told."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch.autograd import forward_ad

_Function = TypeVar("_Function", bound=Callable[..., object])


def transformed() -> bool:
    """Whether a torch.func transform or forward-mode differentiation is active; never in `torch.compile`.

    Quick kernels have the derivative that training needs, and step aside for others.
    """
    if torch.compiler.is_compiling():
        return False
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()  # pyright: ignore[reportAttributeAccessIssue]


def constant(function: _Function) -> _Function:
    """`torch.compiler.assume_constant_result`, without importing the compiler, which takes longer than torch."""
    function._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
    return function
