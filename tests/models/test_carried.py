"""A base of one's own stays with its model on other paths, and what cannot keep it says so."""

import pytest
import torch

from gaussian import gaussian_model
from pushforward import paths
from pushforward._errors import ConfigError, ConversionError
from pushforward.models import Diffusion, FlowMap, Logistic, ModelBase, Normal, gaussian, nice
from pushforward.nets import MLP, two_times
from pushforward.solvers import RK4, Ancestral, Jumps

MEAN, STD, N = 5.0, 0.1, 64
OWN = Normal((2,), STD, MEAN)


def model_of(base=OWN, path=None, prediction=paths.x0):
    return Diffusion(MLP((2,), hidden=8, layers=1), path or paths.Linear(), prediction, base=base)


@pytest.mark.parametrize(
    "moved",
    {
        "a flow map": FlowMap.of,
        "a flow map of a flow map": lambda model: FlowMap.of(FlowMap.of(model)),
        "the diagonal of one": lambda model: FlowMap.of(model).velocities,
        "the same path": lambda model: model.on(paths.Linear(), paths.velocity),
        "another path": lambda model: model.on(paths.Cosine()),
        "matched": lambda model: model.matched(1.0, torch.tensor([2.0, 3.0])),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_base_of_ones_own_goes_along(moved):
    model = model_of()
    noise = moved[1](model).noise(N, seed=3)
    torch.testing.assert_close(noise, model.noise(N, seed=3))
    assert noise.mean().item() == pytest.approx(MEAN, abs=0.05)


@pytest.mark.parametrize("path", [paths.Cosine(), paths.Polynomial(1.0)], ids=["cosine", "polynomial"])
def test_what_is_carried_still_ends_where_it_did(path):
    model = gaussian(0.3, 0.5, shape=(2,))
    model.base = Normal((2,), 0.7, 1.0)
    torch.testing.assert_close(
        model.on(path, paths.v).sample(N, solver=RK4(100), seed=0),
        model.sample(N, solver=RK4(100), seed=0),
        rtol=0, atol=1e-3,
    )  # fmt: skip


def test_a_normal_is_scaled_with_its_path():
    """VE and EDM end at 80 there and 80 here; the flow map of either at 80 / 81."""
    model = model_of(Normal((2,), 40.0, 8.0), paths.EDM(), paths.edm(0.5))
    noise = model.noise(N, seed=3)
    torch.testing.assert_close(model.on(paths.VE(sigma_max=80.0), paths.v).noise(N, seed=3), noise)
    torch.testing.assert_close(FlowMap.of(model).noise(N, seed=3), noise / 81)


def test_what_lives_on_two_paths_only_in_part_is_refused():
    with pytest.raises(ConversionError, match="equal signal-to-noise ratio for a base of one's own"):
        model_of().on(paths.VE(), paths.v)
    with pytest.raises(ConversionError, match="equal signal-to-noise ratio"):
        model_of(path=paths.VE(), prediction=paths.v).matched(0.0, 1.0)
    wide = model_of(Logistic((2,)), paths.VE(), paths.v)
    with pytest.raises(ConversionError, match="equal scale for a base that is no Normal; got Logistic"):
        FlowMap.of(wide)
    rough = ModelBase(nice((2,)))
    assert isinstance(model_of(rough).on(paths.Cosine()).base, ModelBase)


@pytest.mark.parametrize("path", [paths.Linear(), paths.VP(), paths.VE()], ids=["linear", "vp", "ve"])
def test_fresh_noise_on_the_way_wants_a_base_that_is_noise(path):
    solver = Jumps(2, renoise=1.0)
    for noisy in (solver, Ancestral(2)):
        with pytest.raises(ConfigError, match=r"a solver of the ODE alone.*adds N\(0, 1\) on the way"):
            FlowMap(two_times(MLP((2,), hidden=8, layers=1)), base=OWN).sample(2, solver=noisy)
    assert FlowMap(two_times(MLP((2,), hidden=8, layers=1)), base=OWN).sample(2, solver=Jumps(2)).isfinite().all()
    for plain in (gaussian_model(path, paths.v), gaussian_model(path, paths.v).matched(0.3, 0.25)):
        assert FlowMap.of(plain).sample(2, solver=solver).isfinite().all()
