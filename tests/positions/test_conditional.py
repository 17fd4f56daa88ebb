"""Convolutions over tokens, against torch's own."""

import pytest
import torch
from torch.nn.functional import conv1d, conv2d, pad

from pushforward import PushforwardError
from pushforward.positions import Conditional, grid, packed


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 12, 5, dtype=torch.float64)


def test_on_a_sequence_it_is_a_depthwise_convolution(x):
    position = Conditional(5, kernel=5).double()
    theirs = conv1d(x.mT, position.weight.T[:, None], position.bias, padding=2, groups=5).mT
    torch.testing.assert_close(position.embed(x, torch.arange(12)), x + theirs)


def test_causal_pads_on_the_left(x):
    position = Conditional(5, kernel=4, causal=True).double()
    theirs = conv1d(pad(x.mT, (3, 0)), position.weight.T[:, None], position.bias, groups=5).mT
    torch.testing.assert_close(position.embed(x, torch.arange(12)), x + theirs)


def test_on_an_image_it_is_the_peg(x):
    position = Conditional(5, columns=4).double()
    image = x.mT.unflatten(-1, (3, 4))
    theirs = conv2d(image, position.weight.T.reshape(5, 1, 3, 3), position.bias, padding=1, groups=5)
    torch.testing.assert_close(position.embed(x, grid(3, 4)), x + theirs.flatten(2).mT)


def test_the_border_alone_tells_positions_apart(x):
    position, same = Conditional(5).double(), x[:, :1].expand(-1, 12, -1)
    out = position.embed(same, torch.arange(12))
    torch.testing.assert_close(out[:, 1:-1], out[:, 1:2].expand(-1, 10, -1))
    assert not torch.allclose(out[:, 0], out[:, 1])
    assert not torch.allclose(out[:, -1], out[:, 1])


def test_packed_documents_do_not_touch(x):
    position = Conditional(5).double()
    pos, _ = packed([5, 7])
    alone = torch.cat([position.embed(part, torch.arange(part.shape[1])) for part in x.split([5, 7], 1)], 1)
    torch.testing.assert_close(position.embed(x, pos), alone)


@pytest.mark.parametrize(
    ("settings", "message"), [({"kernel": 4}, "odd kernel"), ({"columns": 3, "causal": True}, "Drop one")]
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(PushforwardError, match=message):
        Conditional(5, **settings)
