"""A language model sees no later token, whatever its encoding, and reads positions that are told."""

import pytest
import torch

from pushforward import Draw
from pushforward._errors import ConfigError, ShapeError
from pushforward.nets import LanguageModel
from pushforward.positions import Conditional, Rotary
from pushforward.training.encodings import ENCODINGS, Sizes, reach
from pushforward.training.language import language_model

SIZES = Sizes(length=8, width=32, heads=4)


def tokens(n: int, length: int) -> torch.Tensor:
    """Random tokens below 11."""
    return Draw(0).integers(n * length, 11).view(n, length)


@pytest.mark.parametrize("name", ENCODINGS)
def test_no_encoding_lets_the_future_through(name):
    net = language_model(name, SIZES, vocabulary=11, layers=2, seed=0).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        x = tokens(2, 8)
        other = x.clone()
        other[:, 5:] = (other[:, 5:] + 1) % 11
        torch.testing.assert_close(net(x)[:, :5], net(other)[:, :5], rtol=1e-9, atol=1e-9)
        assert not torch.allclose(net(x)[:, 5:], net(other)[:, 5:])


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_is_read_far_beyond_what_it_was_made_for(name):
    net = language_model(name, SIZES, vocabulary=11, layers=1, seed=0)
    end = reach(net.position)
    pos = torch.arange(64) if end is None else torch.arange(64).clamp(max=end - 1)
    assert net(tokens(1, 64), pos).isfinite().all()
    if end is not None:
        with pytest.raises(ShapeError, match=f"positions from 0 to {end - 1}"):
            net(tokens(1, end + 1))


@pytest.mark.parametrize("name", sorted(set(ENCODINGS) - {"none"}))
def test_models_of_a_seed_share_all_weights_but_those_of_the_encoding(name):
    net, other = (language_model(each, SIZES, 11, 2, seed=3) for each in (name, "none"))
    own = {key for key in net.state_dict() if key.startswith("position.")}
    assert set(net.state_dict()) - own == set(other.state_dict())
    assert all((net.state_dict()[key] == value).all() for key, value in other.state_dict().items())
    assert not (net.word.weight == language_model(name, SIZES, 11, 2, seed=4).word.weight).all()


def test_positions_are_told_and_the_encoding_may_be_replaced():
    net = LanguageModel(11, Rotary(), 32, 1, 4).double()
    x = tokens(1, 6)
    torch.testing.assert_close(net(x), net(x, torch.arange(6) + 1000))
    torch.testing.assert_close(net(x, torch.arange(6) * 2), net(x, torch.arange(6), Rotary(extension=_Twice())))
    assert not torch.allclose(net(x), net(x, torch.arange(6) * 2))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="reads no later tokens; got Conditional"):
        LanguageModel(11, Conditional(32), 32, 1, 4)
    with pytest.raises(ShapeError, match=r"tokens \[batch, tokens\], int64 or int32; got torch\.float32"):
        LanguageModel(11, None, 32, 1, 4)(torch.zeros(1, 3))
    with pytest.raises(ConfigError, match=r"an encoding \(none, learned.*Did you mean 'rope'"):
        language_model("roop", SIZES, 11, 1, 0)


class _Twice:
    """Frequencies twice as fast: no extension of ours, which only slow down."""

    amplitude = 1.0

    def frequencies(self, base, rotated, numbers):
        return [2 / p for p in numbers.periods(numbers.constant(base), rotated)]
