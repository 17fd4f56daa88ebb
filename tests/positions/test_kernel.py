"""The fast rotations against the formula in float64: values, gradients, strides, precisions, refusals."""

import pytest
import torch

from pushforward import PushforwardError
from pushforward.positions import Rotary, frequencies, phases, rotate, rotate_
from pushforward.positions.kernel import PIECE, Turned

layouts = pytest.mark.parametrize("layout", ["interleaved", "half"])
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])


def tables(tokens, features, dtype=torch.float64):
    angles = phases(torch.arange(tokens) + 3, frequencies(10_000.0, features))
    return angles.cos().to(dtype), angles.sin().to(dtype)


def formula(x, cos, sin, layout):
    """The definition, in float64."""
    x, cos, sin = x.double(), cos.double(), sin.double()
    r = 2 * cos.shape[-1]
    part = x[..., :r].unflatten(-1, (2, -1)) if layout == "half" else x[..., :r].unflatten(-1, (-1, 2)).mT
    a, b = part.unbind(-2)
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], -2)
    return torch.cat([(turned if layout == "half" else turned.mT).flatten(-2), x[..., r:]], -1)


def tolerance(dtype):
    """One rounding of the result, and in float32 and float64 of three operations."""
    wide = dtype in (torch.float64, torch.float32)
    return {
        "rtol": torch.finfo(dtype).eps * (2 if wide else 0.51),
        "atol": 4 * torch.finfo(torch.promote_types(dtype, torch.float32)).eps,
    }


@layouts
@dtypes
@pytest.mark.parametrize("rotated", [8, 6, 2])
@pytest.mark.parametrize("shape", [(5, 8), (2, 5, 8), (2, 3, 5, 8), (0, 5, 8)])
def test_in_place_is_the_formula(shape, rotated, dtype, layout):
    torch.manual_seed(0)
    x = torch.randn(shape).to(dtype)
    cos, sin = tables(5, rotated, torch.promote_types(dtype, torch.float32))
    expected = formula(x, cos, sin, layout)
    torch.testing.assert_close(rotate(x, cos, sin, layout).double(), expected, **tolerance(dtype))
    before = x.data_ptr()
    out = rotate_(x, cos, sin, layout)
    assert out is x
    assert out.data_ptr() == before
    torch.testing.assert_close(x.double(), expected, **tolerance(dtype))


@layouts
@dtypes
@pytest.mark.parametrize("shape", [(3, 5, 300, 128), (2, 1, 2 * PIECE // 128 + 1, 128), (1, 2, 9, PIECE // 8)])
def test_pieces_cover_everything(shape, dtype, layout):
    torch.manual_seed(0)
    x = torch.randn(shape).to(dtype)
    cos, sin = tables(shape[-2], 64, torch.promote_types(dtype, torch.float32))
    expected = formula(x, cos, sin, layout)
    torch.testing.assert_close(rotate_(x, cos, sin, layout).double(), expected, **tolerance(dtype))


@layouts
@dtypes
def test_every_stride_and_every_table_shape_works(dtype, layout):
    torch.manual_seed(0)
    cos, sin = tables(5, 6, torch.promote_types(dtype, torch.float32))
    wide = torch.randn(2, 5, 3, 17).to(dtype)
    for x in (wide[..., 1:9], wide[..., ::2][..., :8], wide[..., :8].transpose(1, 2).contiguous().transpose(1, 2)):
        view = x.transpose(1, 2)  # [2, 3, 5, 8], never contiguous
        for rows in (cos, cos[None, None], cos.expand(2, 1, 5, 3)):
            other = sin.expand(rows.shape)
            expected = formula(view, rows, other, layout)
            kept = wide.clone()
            rotate_(view, rows, other, layout)
            torch.testing.assert_close(view.double(), expected, **tolerance(dtype))
            wide.copy_(kept)


@layouts
def test_one_head_is_rotated_too(layout):  # elsewhere the copy of a tensor of one head is rotated, and lost
    cos, sin = tables(5, 8)
    x = torch.randn(2, 5, 1, 8, dtype=torch.float64)
    expected = formula(x.transpose(1, 2), cos, sin, layout)
    rotate_(x.transpose(1, 2), cos, sin, layout)
    torch.testing.assert_close(x.transpose(1, 2), expected)


@layouts
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("rotated", [6, 4])
def test_gradients_of_first_and_second_order(layout, in_place, rotated):
    cos, sin = tables(4, rotated)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)

    def turned(y):
        return rotate_(y.clone(), cos, sin, layout) if in_place else rotate(y, cos, sin, layout)

    assert torch.autograd.gradcheck(turned, x)
    assert torch.autograd.gradgradcheck(lambda y: turned(y).square(), x)


@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_in_low_precision_are_the_rotation_back(layout, dtype):
    torch.manual_seed(0)
    cos, sin = tables(4, 6, torch.float32)
    x = torch.randn(2, 3, 4, 8).to(dtype).requires_grad_()
    g = torch.randn(2, 3, 4, 8).to(dtype)
    rotate(x, cos, sin, layout).backward(g)
    torch.testing.assert_close(x.grad.double(), formula(g, cos, -sin, layout), **tolerance(dtype))


@layouts
def test_queries_and_keys_of_a_packed_projection_turn_in_one_call(layout):
    torch.manual_seed(0)
    pos = torch.arange(5)
    cos, sin = Rotary().tables(pos, 8, torch.float64)
    weight = torch.randn(3 * 4 * 8, 16, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 5, 16, dtype=torch.float64)

    def loss(in_place):
        qkv = (x @ weight.T).unflatten(-1, (12, 8))
        if in_place:
            rotate_(qkv[:, :, :8], cos[:, None], sin[:, None], layout)
            q, k, v = qkv.transpose(1, 2).split(4, 1)
        else:
            q, k, v = qkv.transpose(1, 2).split(4, 1)
            q, k = rotate(q, cos, sin, layout), rotate(k, cos, sin, layout)
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return out.square().sum()

    (here,), (there,) = (torch.autograd.grad(loss(in_place), weight) for in_place in (True, False))
    torch.testing.assert_close(here, there)


def test_autograd_knows_that_the_input_changed():  # elsewhere inputs are changed behind autograd's back
    cos, sin = tables(4, 6)
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    y = x * 2
    z = y.square()  # keeps y for its backward pass
    rotate_(y, cos, sin)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    with pytest.raises(RuntimeError, match="leaf Variable"):
        rotate_(x, cos, sin)


@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_arithmetic_is_float32_whatever_the_tables_are_in(layout, dtype):  # elsewhere it is that of the tables
    torch.manual_seed(0)
    x = torch.randn(2, 50, 8).to(dtype)
    cos, sin = tables(50, 8, torch.bfloat16)
    expected = formula(x, cos, sin, layout)
    torch.testing.assert_close(rotate(x, cos, sin, layout).double(), expected, **tolerance(dtype))
    torch.testing.assert_close(rotate_(x, cos, sin, layout).double(), expected, **tolerance(dtype))


@layouts
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_transforms_of_torch_see_the_same_rotation(layout, dtype):
    torch.manual_seed(0)
    cos, sin = tables(4, 6, torch.promote_types(dtype, torch.float32))
    x, t = torch.randn(2, 3, 4, 6).to(dtype).unbind()

    def turned(y):
        return rotate(y, cos, sin, layout)

    torch.testing.assert_close(torch.func.vmap(turned)(x), turned(x))
    value, tangent = torch.func.jvp(turned, (x,), (t,))
    torch.testing.assert_close(value, turned(x))
    torch.testing.assert_close(tangent, turned(t))
    back = torch.func.vjp(turned, x)[1](t)[0]
    torch.testing.assert_close(back.double(), formula(t, cos, -sin, layout), **tolerance(dtype))
    in_place = torch.func.vmap(lambda y: rotate_(y.clone(), cos, sin, layout))(x)
    torch.testing.assert_close(in_place, turned(x))


@pytest.mark.parametrize(("layout", "dtype"), [("interleaved", torch.bfloat16), ("half", torch.float32)])
def test_compiled_without_a_graph_break(layout, dtype):
    torch.manual_seed(0)
    rotary = Rotary(layout=layout, fraction=0.5)
    q, k = torch.randn(2, 1, 2, 6, 16).to(dtype).unbind()
    pos = torch.arange(6) + 10**9

    def turned(q, k, pos):
        return rotary.rotate(q, k, pos, pos)

    def over(q, k, pos):
        return rotary.rotation(pos, pos, 16, q.dtype).in_place(q.clone(), k.clone())

    assert torch._dynamo.explain(turned)(q, k, pos).graph_break_count == 0
    torch._dynamo.reset()
    for function in (turned, over):
        whole = torch.compile(function, backend="eager", fullgraph=True)
        for tokens in (6, 5, 3):  # the second length makes it dynamic
            q_t, k_t, pos_t = q[:, :, :tokens], k[:, :, :tokens], pos[:tokens]
            for a, b in zip(whole(q_t, k_t, pos_t), turned(q_t, k_t, pos_t)):
                torch.testing.assert_close(a, b)
        torch._dynamo.reset()


@layouts
def test_saved_for_the_backward_pass_are_the_tables_alone(layout):
    cos, sin = tables(64, 16, torch.float32)
    x = torch.randn(8, 64, 16, requires_grad=True)
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):
        rotate(x, cos, sin, layout)
    assert held
    assert max(held) <= cos.numel()


def test_tables_that_are_trained_get_gradients():
    angle = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    for layout in ("interleaved", "half"):
        assert torch.autograd.gradcheck(lambda a, f=layout: rotate(x, a.cos(), a.sin(), f), angle)


def test_tables_with_more_rows_than_the_tensor():
    cos, sin = tables(5, 6)
    x = torch.randn(1, 6, dtype=torch.float64)
    torch.testing.assert_close(rotate(x, cos, sin), formula(x.expand(5, 6), cos, sin, "interleaved"))
    with pytest.raises(PushforwardError, match="Use rotate, or expand x"):
        rotate_(x, cos, sin)


def test_the_transpose_is_the_rotation_back():
    cos, sin = tables(4, 6)
    x = torch.randn(4, 6, dtype=torch.float64)
    there = Turned.apply(x, cos, sin, "half", False, False)
    torch.testing.assert_close(Turned.apply(there, cos, sin, "half", True, False), x)
