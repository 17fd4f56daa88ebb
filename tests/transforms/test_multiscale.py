import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pushforward._errors import ShapeError
from pushforward.transforms import AffineCoupling, Chain, DiagonalScale, Inverse, Part, Squeeze, channels
from pushforward.transforms.start import begin


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_squeezing_is_torchs_unshuffling():
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(Squeeze().encode(x)[0], torch.nn.functional.pixel_unshuffle(x, 2))
    z = torch.randn(2, 18, 1, 2)
    assert torch.equal(Squeeze(3).decode(z)[0], torch.nn.functional.pixel_shuffle(z, 3))


def test_sides_that_do_not_divide_are_refused():
    with pytest.raises(ShapeError, match="divided by 2"):
        Squeeze().encode(torch.zeros(1, 1, 3, 4))


def test_a_part_leaves_the_others_alone_and_starts_from_what_it_sees():
    x = torch.randn(100, 4) * torch.tensor([1.0, 5.0, 3.0, 7.0])
    part = Part(2, DiagonalScale((2,)))
    z = begin(part, x, None, std=1.0)
    assert torch.equal(z[:, 2:], x[:, 2:])
    assert_close(z[:, :2].std(0, correction=0), torch.ones(2))


def test_factoring_out_with_a_conditional_prior_is_a_coupling():
    """log N(z2; mu(h), sigma(h)) + log N(h): the flow that couples has this density to all digits."""
    torch.manual_seed(0)
    net = nn.Linear(2, 4).double()
    h_and_z = torch.randn(5, 4, dtype=torch.float64)
    coupling = AffineCoupling((4,), net, channels((4,)), bound=3.0)
    latent, ladj = coupling.encode(h_and_z)
    h, z = h_and_z.chunk(2, 1)
    raw, m = net(h).chunk(2, 1)
    sigma = (-3 * torch.tanh(raw / 3)).exp()
    expected = torch.distributions.Normal(-m * sigma, sigma).log_prob(z).sum(1)
    ours = torch.distributions.Normal(0, 1).log_prob(latent[:, 2:]).sum(1) + ladj
    assert_close(ours, expected)


def test_levels_keep_one_event_and_touch_every_pixel():
    deep = Chain(Squeeze(), Part(2, Chain(Squeeze(), DiagonalScale((8, 1, 1)), Inverse(Squeeze()))), Inverse(Squeeze()))
    x = torch.randn(3, 1, 4, 4)
    z, _ = deep.encode(x)
    assert z.shape == x.shape
    assert_close(deep.decode(z)[0], x)
