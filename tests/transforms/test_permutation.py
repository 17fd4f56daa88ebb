import pytest
import torch

from pushforward._errors import ConfigError, ShapeError
from pushforward.transforms import Permutation, Reshape, Shift, flatten, reverse, shuffle, tile


@pytest.mark.parametrize("order", [[0, 0], [1, 2], [[0, 1]], [-1, 0]])
def test_an_order_names_each_place_once(order):
    with pytest.raises(ConfigError, match="once"):
        Permutation(order)


def test_orders_by_name():
    assert reverse(4).order.tolist() == [3, 2, 1, 0]
    assert tile(5).order.tolist() == [0, 2, 4, 1, 3]
    assert shuffle(50, seed=1).order.tolist() == shuffle(50, seed=1).order.tolist()
    assert shuffle(50, seed=1).order.tolist() != shuffle(50, seed=2).order.tolist()


def test_an_order_belongs_to_the_saved_weights():
    other = shuffle(9, seed=2)
    other.load_state_dict(shuffle(9, seed=1).state_dict())
    assert torch.equal(other.order, shuffle(9, seed=1).order)


def test_the_order_given_is_copied():
    order = torch.tensor([1, 0])
    made = Permutation(order)
    order[0] = 0
    assert made.order.tolist() == [1, 0]


def test_reshape_refuses_other_counts_and_other_events():
    with pytest.raises(ConfigError, match=r"\(2, 3\) \(6\) and \(5,\) \(5\)"):
        Reshape((2, 3), (5,))
    with pytest.raises(ShapeError, match=r"events of shape \(2, 3\)"):
        flatten((2, 3)).encode(torch.zeros(4, 3, 2))


def test_there_is_no_forward():
    with pytest.raises(NotImplementedError, match=r"encode\(x\) or decode\(z\)"):
        Shift((2,))(torch.zeros(1, 2))
