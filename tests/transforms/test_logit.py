import math

import pytest
import torch
from torch.testing import assert_close

from pushforward._errors import ConfigError
from pushforward.transforms import Logit


def test_it_is_the_formula_of_the_paper():
    x = torch.linspace(0, 1, 7, dtype=torch.float64)[:, None]
    p = 0.05 + 0.9 * x
    z, ladj = Logit(0.05).encode(x)
    assert_close(z, p.log() - (1 - p).log())
    assert_close(ladj, (math.log(0.9) - p.log() - (1 - p).log()).squeeze(1))


@pytest.mark.parametrize("x", [-0.2, 1.2, 0.0, 1.0])
def test_the_density_outside_is_zero(x):
    z, ladj = Logit(0.0).encode(torch.tensor([[x], [0.5]]))
    assert z.isfinite().all()
    assert ladj[0] == -math.inf
    assert ladj[1].item() == pytest.approx(math.log(4))


def test_decoding_never_leaves_the_interval():
    x, _ = Logit(0.0, -1.0, 3.0).decode(torch.tensor([[-50.0], [0.0], [50.0]]))
    assert x.squeeze(1).tolist() == [-1, 1, 3]


@pytest.mark.parametrize(
    "settings", [{"alpha": 0.5}, {"alpha": -0.1}, {"low": 1.0}, {"high": math.nan}, {"high": math.inf}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match="low < high"):
        Logit(**settings)
