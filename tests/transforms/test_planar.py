"""Planar, radial and Sylvester maps stay invertible wherever training sends their parameters."""

import pytest
import torch
from torch.testing import assert_close

from pushforward import PushforwardError
from pushforward import transforms as T

MAPS = {
    "planar": lambda: T.Planar((3,)),
    "planar-leaky": lambda: T.Planar((3,), "leaky_relu"),
    "radial": lambda: T.Radial((3,)),
    "sylvester": lambda: T.Sylvester((3,), 2),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("scale", [0.1, 3.0, 20.0])
def test_any_parameters_give_an_invertible_map(name, scale):
    for seed in range(5):
        torch.manual_seed(seed)
        made = MAPS[name]().double()
        torch.nn.init.normal_(made.params, std=scale)
        x = 2 * torch.randn(100, 3, dtype=torch.float64)
        with torch.no_grad():
            z, ladj = made.encode(x)
            assert ladj.isfinite().all()
            x_again = made.decode(z)[0]
            z_again = made.encode(x_again)[0]
        assert_close(z_again, z, rtol=1e-9, atol=1e-9)


def test_a_planar_map_that_would_fold_space_is_moved_to_the_border():
    made = T.Planar((2,)).double()
    made.params.data = torch.tensor([1.0, 0.0, -50.0, 0.0, 0.0]).double()  # w.u = -50: would fold
    x = torch.tensor([[-1e-6, 0.0], [0.0, 0.0], [1e-6, 0.0]]).double()
    z, _ = made.encode(x)
    assert (z[:, 0].diff() > 0).all()


def test_a_bend_must_be_known_and_directions_must_fit():
    with pytest.raises(PushforwardError, match="'tanh' or 'leaky_relu'"):
        T.Planar((2,), "relu")
    with pytest.raises(PushforwardError, match="from 1 to 2 directions"):
        T.Sylvester((2,), 3)
    with pytest.raises(PushforwardError, match="with 5 outputs"):
        T.Planar((2,), conditioner=torch.nn.Linear(1, 4)).encode(torch.zeros(3, 2), torch.zeros(3, 1))


@pytest.mark.parametrize("make", [T.Planar, T.Radial, T.Sylvester])
def test_a_context_that_nothing_reads_and_one_that_is_missing_are_refused(make):
    size = {T.Planar: 5, T.Radial: 4, T.Sylvester: 5}[make]
    given = {"directions": 1} if make is T.Sylvester else {}
    x, context = torch.zeros(3, 2), torch.zeros(3, 1)
    with pytest.raises(PushforwardError, match="Expected no context; got one"):
        make((2,), **given).encode(x, context)
    with pytest.raises(PushforwardError, match="Expected a context; got none"):
        make((2,), conditioner=torch.nn.Linear(1, size), **given).decode(x)
