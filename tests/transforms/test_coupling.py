import pytest
import torch
from torch import nn

from pushforward._errors import ConfigError, ShapeError
from pushforward.transforms import AdditiveCoupling, AffineCoupling, Coupling, channels, checkerboard, halves


def test_the_kept_pass_unchanged_and_the_changed_do_not():
    mask = torch.tensor([True, False, True, False])
    layer = AffineCoupling((4,), lambda kept: torch.ones(len(kept), 4), mask)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    z, _ = layer.encode(x)
    assert torch.equal(z[:, mask], x[:, mask])
    assert (z[:, ~mask] != x[:, ~mask]).all()


@pytest.mark.parametrize("bound", [0.5, 2.0])
def test_no_network_moves_the_log_scale_past_its_bound(bound):
    layer = AffineCoupling((4,), lambda kept: torch.full((len(kept), 4), 1e6), bound=bound)
    _, ladj = layer.encode(torch.ones(1, 4))
    assert ladj.item() == pytest.approx(2 * bound)


def test_small_raw_log_scales_are_nearly_themselves():
    layer = AffineCoupling((2,), lambda kept: torch.tensor([[0.01, 0.0]]))
    assert layer.encode(torch.ones(1, 2))[1].item() == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("kind", [AdditiveCoupling, AffineCoupling])
def test_a_conditioner_of_the_wrong_size_is_named(kind: type[Coupling]):
    layer = kind((6,), nn.Linear(3, 5))
    with pytest.raises(ShapeError, match=r"got \(2, 5\)"):
        layer.encode(torch.zeros(2, 6))
    with pytest.raises(ShapeError, match=r"got \(2, 5\)"):
        layer.decode(torch.zeros(2, 6))


@pytest.mark.parametrize(
    "mask",
    [torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool), torch.ones(3, dtype=torch.bool)],
)
def test_a_mask_keeps_some_and_changes_some(mask):
    with pytest.raises(ConfigError, match="a mask of shape"):
        AdditiveCoupling((4,), nn.Identity(), mask)


def test_one_number_cannot_be_coupled():
    with pytest.raises(ConfigError, match="at least two numbers"):
        AdditiveCoupling((1,), nn.Identity())


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
def test_the_bound_is_above_zero_and_finite(bound):
    with pytest.raises(ConfigError, match="a bound above 0"):
        AffineCoupling((4,), nn.Identity(), bound=bound)


def test_a_plain_function_conditions_and_sees_the_context():
    layer = AdditiveCoupling((2,), lambda kept, context: context)
    assert layer.encode(torch.zeros(1, 2), torch.tensor([[3.0]]))[0].tolist() == [[0, 3]]


def test_masks():
    assert halves((5,)).int().tolist() == [1, 1, 0, 0, 0]
    assert halves((1, 2, 2)).int().tolist() == [[[1, 1], [0, 0]]]
    assert checkerboard((5,)).int().tolist() == [1, 0, 1, 0, 1]
    assert checkerboard((2, 1, 1)).flatten().int().tolist() == [1, 0]
    assert channels((3, 1, 2)).int().tolist() == [[[1, 1]], [[0, 0]], [[0, 0]]]
