"""How the blocks of a network run while it is trained: as written, computed twice, or compiled.

A block is a layer of layers: what stands in an `nn.ModuleList` of a network, or the conditioner of a transform.

    recompute    a block keeps its input alone, and is run again when the gradient passes: for L blocks of A bytes of
                 activations each, L inputs + A in place of L A, and a third more time. The same bits.
    compile      torch.compile of each block; equal ones share their code, so that many cost what one does.

The model itself is not changed: a block's `forward` is rerouted while a loss is computed, and only then. Under
`torch.func` transforms (the Jacobian-vector products of flow maps) neither is possible, and blocks run as written.

References: Chen et al. 2016 (arXiv 1604.06174).
"""

import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pushforward._derivatives import transformed
from pushforward._errors import ConfigError, explain
from pushforward.transforms import Transform


class Rerouted:
    """Another way through a model's blocks.

    Args:
        model: whose blocks.
        recompute: keep their inputs alone.
        compile: compile them.

    Raises:
        ConfigError: the model has no blocks.
    """

    def __init__(self, model: nn.Module, recompute: bool, compile: bool) -> None:
        found = list(blocks(model)) if recompute or compile else []
        if (recompute or compile) and not found:
            got, word = f"{type(model).__name__}, which has none", "recompute" if recompute else "compile"
            raise ConfigError(explain(f"a model with blocks (nn.ModuleList) for {word}", got, "Leave it out."))
        self._routes = [(block, _route(block, recompute, compile)) for block in found]

    @contextmanager
    def here(self) -> Generator[None]:
        """Within, blocks run this other way."""
        for block, route in self._routes:
            block.__dict__["forward"] = route
        try:
            yield
        finally:
            for block, _ in self._routes:
                del block.__dict__["forward"]


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a model, outermost ones alone."""
    for child in model.children():
        holds = isinstance(model, nn.ModuleList | Transform) and not isinstance(child, nn.ModuleList | Transform)
        if holds and any(True for _ in child.children()):
            yield child
        else:
            yield from blocks(child)


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile works here, found out by trying; a warning says why not."""
    try:
        tried = torch.compile(lambda x: (x.sin() * x).sum())
        tried(torch.ones(8, device=device, requires_grad=True)).backward()
    except Exception as error:  # compilers fail in many ways
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        warnings.warn(f"compile is left out: torch.compile does not work here ({reason}).", stacklevel=2)
        return False
    return True


def _route(block: nn.Module, recompute: bool, compile: bool) -> Callable[..., Any]:
    written = block.forward
    run = torch.compile(written) if compile else written

    def routed(*arguments: Any, **named: Any) -> Any:
        if transformed():
            return written(*arguments, **named)
        if recompute and torch.is_grad_enabled():
            return checkpoint(run, *arguments, use_reentrant=False, **named)
        return run(*arguments, **named)

    return routed
