"""Every field net, small, as a constructor without arguments; contexts as a function of the batch size."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward.nets import MLP, ConcatSquash, EluFeatures, PositiveFeatures, TaylorFeatures, Transformer, two_times
from pushforward.positions import FIRE, KERPLE, T5, Learned, Rotary, Shaw, Sinusoidal, TransformerXL, Unordered

NETS: dict[str, Callable[[], nn.Module]] = {
    "concat-squash": lambda: ConcatSquash((3,), hidden=16),
    "concat-squash-context": lambda: ConcatSquash((1, 2, 2), hidden=16, layers=1, context=2),
    "mlp": lambda: MLP((3,), hidden=16, layers=2),
    "mlp-told-twice": lambda: two_times(MLP((3,), hidden=16, layers=2)),
    "wrapped-told-twice": lambda: two_times(ConcatSquash((3,), hidden=16)),
    "mlp-classes": lambda: MLP((2, 2), hidden=16, layers=2, classes=3),
    "mlp-context": lambda: MLP((3,), hidden=16, layers=2, context=2),
    "transformer": lambda: Transformer((1, 4, 4), width=16, layers=2, heads=2, patch=2),
    "transformer-causal": lambda: Transformer((4, 3), width=16, layers=2, heads=2, causal=True),
    "transformer-classes": lambda: Transformer((2, 4, 6), width=16, layers=2, heads=2, patch=2, classes=3),
    "transformer-context": lambda: Transformer((4, 3), width=16, layers=2, heads=2, context=2),
    "transformer-elu": lambda: Transformer((24, 2), Rotary(), width=8, layers=1, heads=2, attention=EluFeatures()),
    "transformer-performer": lambda: Transformer(
        (65, 1), Rotary(), width=8, layers=2, heads=2, causal=True, attention=PositiveFeatures(6)
    ),
    "transformer-taylor": lambda: Transformer((1, 4, 4), width=8, layers=1, heads=2, attention=TaylorFeatures()),
    "transformer-learned": lambda: Transformer((1, 4, 4), Learned(4, 16), width=16, layers=2, heads=2, patch=2),
    "transformer-fire": lambda: Transformer((1, 4, 4), FIRE(2, 4, 1.0), width=16, layers=2, heads=2, patch=2),
    "transformer-kerple": lambda: Transformer((24, 2), KERPLE(2), width=8, layers=1, heads=2, causal=True),
    "transformer-long": lambda: Transformer((24, 2), Rotary(), width=8, layers=1, heads=2),
    "transformer-raster": lambda: Transformer((1, 4, 4), Rotary(), width=16, layers=2, heads=2, patch=2),
    "transformer-shaw": lambda: Transformer((4, 3), Shaw(8, clip=2), width=16, layers=2, heads=2),
    "transformer-t5": lambda: Transformer((1, 4, 4), T5(2, 4, 3), width=16, layers=2, heads=2, patch=2),
    "transformer-unordered": lambda: Transformer((4, 3), Unordered(), width=16, layers=2, heads=2),
    "transformer-waves": lambda: Transformer((1, 4, 4), Sinusoidal(), width=16, layers=2, heads=2, patch=1),
    "transformer-xl": lambda: Transformer((4, 3), TransformerXL(2, 8), width=16, layers=2, heads=2),
}


def context(name: str, n: int) -> Tensor | None:
    """A context the net of this name takes."""
    if name.endswith("classes"):
        return torch.arange(n) % 4
    return torch.randn(n, 2, dtype=torch.float64) if name.endswith("context") else None


def trained(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The net in float64 with no parameter left at zero, as training leaves it."""
    torch.manual_seed(seed)
    net = make().double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return net
