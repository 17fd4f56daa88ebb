"""What torch's derivatives and compiler need to be asked or told."""

import abc
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pushforward._errors import PushforwardError, explain

_Function = TypeVar("_Function", bound=Callable[..., object])

Tensors = tuple[Tensor, ...]

_functorch: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
_traced: Callable[[], bool] = torch._C._is_tracing  # pyright: ignore[reportAttributeAccessIssue]
_autocast: Callable[[], bool] = torch._C._is_any_autocast_enabled  # pyright: ignore[reportAttributeAccessIssue]
"""On any device: a sixth of the time that it takes to ask for one."""


class Fused(abc.ABC):
    """A formula as one node of the graph, with values and first derivatives written by hand.

    Where one derivative is wanted and no more, `values` and `gradients` are all that runs. Under `torch.func`, forward
    mode, `torch.compile`, autocast and for derivatives of derivatives the formula is `plain`, which says the same in
    operations that torch can take apart; in graphs where `whole` holds, they need a value and a gradient, and no more.
    What is no tensor is a field of a frozen dataclass.
    """

    @abc.abstractmethod
    def plain(self, *inputs: Tensor) -> Tensors:
        """The results, in operations that have all derivatives."""

    @abc.abstractmethod
    def values(self, *inputs: Tensor) -> tuple[Tensors, Any]:
        """The same results, and what `gradients` is to be given besides the inputs.

        That is tensors, which are saved with the graph, or one object that is no tuple, which goes with it.
        """

    @abc.abstractmethod
    def gradients(
        self, inputs: Tensors, kept: Any, needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor | None, ...]:
        """The gradients of the inputs that need them, of those of the results."""

    def __call__(self, *inputs: Tensor) -> Tensors:
        if torch.compiler.is_compiling() or transformed() or _autocast():
            return self.plain(*inputs)
        if not torch.is_grad_enabled():
            return self.values(*inputs)[0]
        return _Node.apply(self, *inputs)  # pyright: ignore[reportReturnType]


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, formula: Fused, *inputs: Tensor) -> Tensors:
        results, kept = formula.values(*inputs)
        saved, ctx.kept = (kept, None) if isinstance(kept, tuple) else ((), kept)
        ctx.save_for_backward(*inputs, *saved)
        ctx.formula, ctx.count = formula, len(inputs)
        return results

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]  # each look at them unpacks all
        inputs, kept = saved[: ctx.count], saved[ctx.count :] if ctx.kept is None else ctx.kept
        if not (torch.is_grad_enabled() or transformed()):
            return None, *ctx.formula.gradients(inputs, kept, needed, grad_outputs)
        with torch.enable_grad():
            apart = [each.view_as(each) for each in inputs]  # parameters may be a function of the numbers they move
            wanted = [each for each, needs in zip(apart, needed, strict=True) if needs]
            found = iter(torch.autograd.grad(ctx.formula.plain(*apart), wanted, grad_outputs, create_graph=True))
        return None, *(next(found) if needs else None for needs in needed)


def once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A function's gradient that has no derivative itself: whoever wants one is told, and not given zeros.

    torch's own decorator tells only where the gradients that come in have a derivative, which those of a sum have not.
    """

    @functools.wraps(backward)
    def told(ctx: Any, *grads: Tensor) -> Any:
        again = torch.is_grad_enabled()
        with torch.no_grad():
            found = backward(ctx, *grads)
        if not again:
            return found
        return tuple(None if each is None else _Last.apply(each, *grads, *ctx.saved_tensors) for each in found)

    return told


class _Last(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *depends: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        fix = "Take the direction that is a formula, or a solver that keeps its steps (a plain RK4)."
        raise PushforwardError(
            explain("first derivatives of what is searched for or solved backwards", "a second one", fix)
        )


def transformed() -> bool:
    """Whether `torch.func`, forward-mode differentiation or `torch.jit.trace` is at work; never in `torch.compile`.

    Quick kernels have the derivative that training needs, and step aside for others.
    """
    return not torch.compiler.is_compiling() and _transformed()


def _transformed() -> bool:
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active() or _traced()  # pyright: ignore[reportAttributeAccessIssue]


def wrapped(x: Tensor) -> bool:
    """Whether a `torch.func` transform is at work on a tensor."""
    return not torch.compiler.is_compiling() and _functorch.is_functorch_wrapped_tensor(x)


def batched(x: Tensor) -> bool:
    """Whether `torch.vmap` keeps a batch in a tensor, whose numbers nothing may then look at."""
    while wrapped(x) and not _functorch.is_batchedtensor(x):
        x = _functorch.get_unwrapped(x)
    return wrapped(x)


def refuse_vmap(*looked_at: Tensor | None) -> None:
    """Refuse a search, or steps that adapt, where `torch.vmap` hides the numbers that say when they are done.

    Raises:
        PushforwardError: one of them is batched.
    """
    if any(x is not None and batched(x) for x in looked_at):
        got = "torch.vmap, which hides them"
        fix = "Call the model on the whole batch, or take a map that is a formula, or a solver of fixed steps."
        raise PushforwardError(explain("numbers to look at, for a search or for steps that adapt", got, fix))


def constant(function: _Function) -> _Function:
    """`torch.compiler.assume_constant_result`, without importing the compiler, which takes longer than torch."""
    function._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
    return function


def whole() -> bool:
    """Whether `torch.compile` may put operations into its graph that have a value and a gradient, and no more.

    Not under `torch.func` or forward mode within the graph, and not in an exported program, which is to run elsewhere.
    """
    return torch.compiler.is_compiling() and _whole()


@constant
def _whole() -> bool:
    return not (torch.compiler.is_exporting() or _transformed())
