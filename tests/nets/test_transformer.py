"""Patches, choices at construction, and what each part of the condition does."""

import pytest
import torch

from laws.zoo_nets import NETS, trained
from pushforward import PushforwardError
from pushforward.nets import Transformer
from pushforward.nets.transformer import patches, unpatches
from pushforward.positions import FIRE, ALiBi, Axial, Conditional, CoPE, Learned, Rotary, TransformerXL, Unordered, grid


def test_patches_are_squares_in_row_order_and_come_back():
    x = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    tokens = patches(x, 2)
    for index, (row, column) in enumerate(grid(2, 3).tolist()):
        square = x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert torch.equal(tokens[:, index], square.flatten(1))
    assert torch.equal(unpatches(tokens, (3, 4, 6), 2), x)


@pytest.mark.parametrize(
    ("shape", "patch"),
    [((1, 8, 8), 2), ((1, 28, 28), 4), ((3, 32, 32), 4), ((3, 64, 64), 8), ((1, 7, 5), 1), ((1, 12, 8), 2)],
)
def test_the_patch_chosen_leaves_few_tokens(shape, patch):
    assert Transformer(shape, width=8, layers=1, heads=1).patch == patch


def test_without_positions_a_transformer_commutes_with_permutations():
    net = trained(NETS["transformer-unordered"])
    x, t = torch.randn(2, 4, 3, dtype=torch.float64), torch.rand(2, dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(net(x[:, order], t), net(x, t)[:, order], rtol=1e-10, atol=1e-12)
    ordered = trained(lambda: Transformer((4, 3), Rotary(), width=16, layers=2, heads=2))
    assert not torch.allclose(ordered(x[:, order], t), ordered(x, t)[:, order])


def test_with_axial_positions_rows_and_columns_are_told_apart():
    net = trained(NETS["transformer"])
    x, t = torch.randn(2, 1, 4, 4, dtype=torch.float64), torch.rand(2, dtype=torch.float64)
    turned = net(x.unflatten(2, (2, 2)).flip(2).flatten(2, 3), t)  # the two rows of patches change places
    back = turned.unflatten(2, (2, 2)).flip(2).flatten(2, 3)
    assert not torch.allclose(back, net(x, t))


def test_no_context_is_the_class_after_the_last():
    net = trained(NETS["transformer-classes"])
    x, t = torch.randn(2, *net.shape, dtype=torch.float64), torch.rand(2, dtype=torch.float64)
    torch.testing.assert_close(net(x, t), net(x, t, torch.tensor([3, 3])))
    assert not torch.allclose(net(x, t), net(x, t, torch.tensor([0, 1])))


def test_the_causal_net_lets_nothing_through():
    net = trained(NETS["transformer-causal"])
    x = torch.randn(1, *net.shape, dtype=torch.float64, requires_grad=True)
    out = net(x, torch.rand(1, dtype=torch.float64))
    for i in range(4):
        (gradient,) = torch.autograd.grad(out[:, i].sum(), x, retain_graph=True)
        seen = gradient[0].any(-1)
        assert seen.tolist() == [j <= i for j in range(4)]


def test_parameters_of_an_encoding_appear_once():
    net = Transformer((4, 3), Learned(4, 8), width=8, layers=3, heads=2)
    assert [key for key in net.state_dict() if "table" in key] == ["position.table"]


def test_an_encoding_starts_itself():
    torch.manual_seed(0)
    position = TransformerXL(2, 64)
    before = position.project.weight.clone()
    net = Transformer((4, 3), position, width=128, heads=2, layers=1)
    assert torch.equal(net.position.project.weight, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Transformer((2,)), "Use nets.MLP for vectors"),
        (lambda: Transformer((1, 8, 8), patch=3), r"divides 8 x 8 \(1, 2, 4, 8\)"),
        (lambda: Transformer((1, 8, 8), width=20, heads=2), "head size divisible by 4"),
        (lambda: Transformer((1, 8, 8), width=30, heads=4), "divisible by heads"),
        (lambda: Transformer((4, 3), Axial()), r"sequences \(1 axis\)"),
        (lambda: Transformer((1, 8, 8), Axial(axes=3), width=48), "images"),
        (lambda: Transformer((4, 3), Conditional(128), causal=True), "reads no later tokens.*Make it causal"),
        (lambda: Transformer((4, 3), CoPE(32)), "causal=True for an encoding of the past"),
        (lambda: Transformer((4, 3), ALiBi(8)), "8 heads, for which ALiBi was made; got 4"),
        (lambda: Transformer((1, 8, 8), FIRE(2)), "2 heads, for which FIRE was made; got 4"),
        (lambda: Transformer((4, 3), classes=2, context=2), "classes or a context vector"),
        (
            lambda: NETS["transformer-learned"]()(torch.ones(1, 1, 4, 4), torch.ones(1), torch.tensor([1])),
            "no context",
        ),
        (
            lambda: NETS["mlp-classes"]()(torch.ones(2, 2, 2), torch.ones(2), torch.tensor([0, 4])),
            "from 0 to 2",
        ),
        (
            lambda: Transformer((6, 3), Learned(4, 128))(torch.ones(1, 6, 3), torch.ones(1)),
            r"Learned\(6, 128\)",
        ),
    ],
)
def test_errors_teach(make, message):
    with pytest.raises(PushforwardError, match=message):
        make()


def test_unordered_images_are_allowed():
    net = Transformer((1, 4, 4), Unordered(axes=2), width=8, heads=2, layers=1)
    assert net.positions().shape == (4, 2)


def test_every_block_starts_as_the_identity():
    torch.manual_seed(0)
    net = Transformer((4, 3), width=8, layers=2, heads=2)
    torch.nn.init.normal_(net.leave.weight)
    x, t = torch.randn(2, 4, 3), torch.rand(2)
    before = net(x, t)
    for parameter in net.blocks.parameters():
        torch.nn.init.normal_(parameter)
    assert before.any()
    assert torch.equal(net(x, t), before)
