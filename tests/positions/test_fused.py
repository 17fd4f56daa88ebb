"""The Triton kernel under Triton's interpreter, in a process of its own, against the formula."""

import os
import subprocess
import sys

import pytest
import torch

from house.tree import PACKAGE, imports, modules
from pushforward import PushforwardError
from pushforward.positions.fused import available, fused_rotate

PROGRAM = """
import itertools, torch
from pushforward.positions import Rotary, rotate
from pushforward.positions.fused import fused_rotate

torch.manual_seed(0)
grid = itertools.product(["interleaved", "half"], [(2, 3, 5, 8), (1, 20, 3, 12)], [1.0, 0.5, 2 / 3], [0, 1])
for layout, shape, fraction, low in grid:
    features, tokens = shape[-1], shape[2]
    rotary = Rotary(layout=layout, fraction=fraction if int(fraction * features) % 2 == 0 else 0.5)
    cos, sin = rotary.tables(torch.arange(50) * 37, features)
    rows = torch.randint(0, 50, (shape[0], tokens))
    dtype = torch.bfloat16 if low else torch.float32
    tolerance = dict(rtol=0.0079, atol=1e-6) if low else dict(rtol=1e-5, atol=1e-6)
    x = torch.randn(shape).to(dtype)
    def expected(y, sign=1):
        return rotate(y.float(), cos[rows][:, None], sign * sin[rows][:, None], layout)
    torch.testing.assert_close(fused_rotate(x, cos, sin, rows, layout).float(), expected(x), **tolerance)
    first = rotate(x.float(), cos[:tokens], sin[:tokens], layout)
    torch.testing.assert_close(fused_rotate(x, cos, sin, layout=layout).float(), first, **tolerance)

    weight = torch.rand(features)  # the norm, then the rotation
    normal = x.float() * (x.float().square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weight
    torch.testing.assert_close(fused_rotate(x, cos, sin, rows, layout, weight).float(), expected(normal), **tolerance)

    strided = torch.randn(shape[0], tokens, shape[1], features + 4).to(dtype)[..., :features].transpose(1, 2)
    answer, strided_kept = expected(strided), strided.clone()
    out = fused_rotate(strided, cos, sin, rows, layout, in_place=True)
    assert out.data_ptr() == strided.data_ptr()
    torch.testing.assert_close(strided.float(), answer, **tolerance)

    y = strided_kept.requires_grad_()
    g = torch.randn(shape).to(dtype)
    fused_rotate(y, cos, sin, rows, layout).backward(g)
    torch.testing.assert_close(y.grad.float(), expected(g, -1), **tolerance)
print("agrees")
"""


@pytest.mark.skipif(not available, reason="triton is not installed")
def test_under_the_interpreter_it_is_the_formula():
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(PACKAGE.parent)}
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, env=environment)
    assert run.stdout.endswith("agrees\n"), run.stderr


@pytest.mark.skipif(not torch.cuda.is_available() or not available, reason="needs a GPU and triton")
def test_on_a_gpu_it_is_the_formula():
    code = PROGRAM.replace("import itertools, torch\n", "import itertools, torch\ntorch.set_default_device('cuda')\n")
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert run.stdout.endswith("agrees\n"), run.stderr


@pytest.mark.skipif(available, reason="triton is installed")
def test_without_triton_the_error_says_so():
    with pytest.raises(PushforwardError, match="Install triton"):
        fused_rotate(torch.ones(1, 1, 2, 4), torch.ones(2, 2), torch.ones(2, 2))


def test_nothing_else_imports_it():
    users = [
        name
        for name, tree in modules().items()
        if any("positions.fused" in dotted for _, dotted in imports(name, tree))
    ]
    assert not users
