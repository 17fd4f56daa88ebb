import math

import pytest
import torch
from torch.distributions import (
    Cauchy,
    Dirichlet,
    Gamma,
    Independent,
    MultivariateNormal,
    Poisson,
)
from torch.distributions import (
    StudentT as TorchStudentT,
)
from torch.distributions import (
    VonMises as TorchVonMises,
)
from torch.testing import assert_close

from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward.models.base import StudentT, Uniform, VonMises
from pushforward.models.learned_base import ClassNormal, Mixture
from pushforward.models.torch_base import FromTorch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


X = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]


def test_densities_are_torchs():
    assert_close(StudentT((1,), 2.5).log_prob(X), TorchStudentT(2.5).log_prob(X).sum(1).double())
    kappa = torch.tensor(1.7, dtype=torch.float64)
    expected = TorchVonMises(torch.zeros_like(kappa), kappa).log_prob(X).sum(1)
    assert_close(VonMises((1,), 1.7).log_prob(X), expected, rtol=1e-5, atol=1e-5)  # torch's I_0 has five digits


def test_a_sharp_von_mises_neither_overflows_nor_spreads():
    base = VonMises((1,), concentration=1e6)
    assert base.log_prob(torch.zeros(1, 1)).item() == pytest.approx(0.5 * math.log(1e6 / (2 * math.pi)), rel=1e-4)
    assert base.sample(4000, Draw(0)).std().item() == pytest.approx(1e-3, rel=0.05)


def test_heavy_tails_reach_as_far_as_they_should():
    """A Cauchy: P(|x| > r) is about 2 / (pi r), also where float32's uniforms would end."""
    x = StudentT((1,), freedom=1.0).sample(200_000, Draw(0)).abs()
    for r in (10.0, 100.0, 1000.0):
        share, wanted = (x > r).double().mean().item(), 1 - 2 / math.pi * math.atan(r)
        assert abs(share - wanted) < 5 * math.sqrt(wanted / 200_000)


def test_k_means_finds_the_islands():
    centres = torch.tensor([[-6.0, 0.0], [6.0, 1.0], [0.0, 9.0]])
    which = Draw(0, "which").integers(900, 3)
    x = centres[which] + 0.3 * Draw(0, "noise").normal(900, (2,))
    base = Mixture.from_data(x, 3, seed=1)
    assert torch.cdist(centres, base.mean.detach()).amin(1).max() < 0.1
    assert_close(base.raw_weight.softmax(0).detach().sort().values, torch.full((3,), 1 / 3), rtol=0.15, atol=0)
    assert base.log_prob(x).mean() > Mixture((2,), 3).log_prob(x).mean() + 5


def test_k_means_survives_rows_that_repeat():
    base = Mixture.from_data(torch.ones(10, 2), 4)
    assert base.log_prob(torch.ones(1, 2)).isfinite().all()
    with pytest.raises(ConfigError, match="4 events or more"):
        Mixture.from_data(torch.ones(3, 2), 4)


def test_no_class_is_all_classes_in_equal_parts():
    base = ClassNormal((2,), 3)
    z = torch.randn(5, 2)
    each = torch.stack([base.log_prob(z, torch.full((5,), c)) for c in range(3)])
    assert_close(base.log_prob(z), each.logsumexp(0) - math.log(3))
    assert_close(base.log_prob(z, torch.full((5,), 3)), base.log_prob(z))


def test_any_distribution_of_torch_is_a_base():
    correlated = MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    x = FromTorch(correlated).sample(3000, Draw(0))
    assert torch.corrcoef(x.T)[0, 1].item() == pytest.approx(0.9, abs=0.02)
    torch.manual_seed(4)
    before = torch.rand(1)
    torch.manual_seed(4)
    FromTorch(correlated).sample(2, Draw(0))
    assert torch.equal(torch.rand(1), before)  # torch's own generator is left as it was
    assert FromTorch(Independent(Cauchy(torch.zeros(2), torch.ones(2)), 1)).std == 1.0
    with pytest.raises(ConfigError, match="no batch shape"):
        FromTorch(Cauchy(torch.zeros(2), torch.ones(2)))


def test_outside_the_support_of_torchs_distributions_the_density_is_0():
    """Torch itself raises, or gives nan where arguments are not validated."""
    for check in (None, False):
        gamma = Gamma(torch.full((2,), 3.0), 1.0, validate_args=check)
        z = torch.tensor([[1.0, 2.0], [-1.0, 2.0], [math.nan, 1.0]], requires_grad=True)
        found = FromTorch(Independent(gamma, 1)).log_prob(z)
        assert found.tolist()[:2] == [pytest.approx(gamma.log_prob(z[0]).sum().item()), -math.inf]
        assert found[2].isnan()
        found[0].backward()
        assert z.grad.isfinite().all()


def test_a_distribution_without_volume_is_no_base():
    with pytest.raises(ConfigError, match=r"a Independent on IntegerGreaterThan.*dequantise whole numbers"):
        FromTorch(Independent(Poisson(torch.ones(2)), 1))
    with pytest.raises(ConfigError, match="a Dirichlet on Simplex"):
        FromTorch(Dirichlet(torch.ones(3)))


def test_impossible_bases_are_refused():
    for make in (lambda: StudentT((1,), 0.0), lambda: Uniform((1,), 1.0, 1.0), lambda: VonMises((1,), 0.0)):
        with pytest.raises(ConfigError):
            make()
