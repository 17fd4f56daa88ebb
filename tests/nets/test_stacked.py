"""Samples that `torch.vmap` stacks are multiplied all at once: one by one they take ten to thirty times as long."""

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from pushforward.nets import Dense, MaskedDense
from pushforward.transforms import Affine, Autoregressive, MonotoneCoupling


def coupling():
    return MonotoneCoupling((6,), Dense(3, 6, hidden=16, zero_output=False), Affine())


def masked(**options):
    return Autoregressive(Affine(), MaskedDense(6, 2, hidden=16, zero_output=False, **options))


LAYERS = {
    "coupling": coupling,
    "masked": masked,
    "masked, in another order": lambda: masked(order=[3, 1, 5, 0, 2, 4]),
    "masked, in blocks": lambda: Autoregressive(Affine(), MaskedDense(70, 2, hidden=140, zero_output=False)),
}


class Called(TorchDispatchMode):
    """The operations that run."""

    def __init__(self):
        super().__init__()
        self.operations = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations.add(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("learning", [True, False], ids=["learning", "fixed"])
@pytest.mark.parametrize("name", LAYERS)
def test_stacked_samples_are_one_product(name, learning):
    torch.manual_seed(0)
    layer = LAYERS[name]().requires_grad_(learning)
    x = torch.randn(4, 70 if "blocks" in name else 6)
    with Called() as called:
        z = torch.func.vmap(lambda row: layer.encode(row[None])[0][0])(x)
    assert_close(z, layer.encode(x)[0])
    assert torch.ops.aten.mm.default in called.operations
    assert torch.ops.aten.bmm.default not in called.operations
    assert torch.ops.aten.index_copy_.default not in called.operations
