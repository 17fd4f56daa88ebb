"""Times: the published densities, inside the span, however the uniform numbers are spread."""

import math

import pytest
import torch

from pushforward import paths
from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward.paths import Cosine, CosMap, Linear, LogitNormal, LogNormal, Mode, Stops, Uniform

U = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
TIMES = {
    "uniform": Uniform(), "logit-normal": LogitNormal(0.3, 1.2), "log-normal": LogNormal(), "mode": Mode(),
    "ends": Mode(-0.9), "cosmap": CosMap(),
}  # fmt: skip
SPREADS = ("low-discrepancy", "stratified", "independent")


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("spread", SPREADS)
def test_times_follow_their_quantiles_and_split_by_sample(times, spread):
    draw, path = Draw(3, "time", step=5), paths.EDM()
    whole = times.sample(4096, draw, path, spread=spread)
    u = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    close = 2e-3 if spread != "independent" else 0.04
    torch.testing.assert_close(torch.quantile(whole, u), times.quantile(u, path), rtol=0, atol=close)
    assert torch.equal(times.sample(100, Draw(3, "time", step=5, first=1000), path, spread=spread), whole[1000:1100])
    assert not torch.equal(times.sample(100, Draw(3, "time", step=6), path, spread=spread), whole[:100])


@pytest.mark.parametrize("times", [*TIMES.values(), Stops(5)], ids=[*TIMES, "stops"])
@pytest.mark.parametrize("path", [paths.VP(), paths.EDM(), paths.Linear()], ids=str)
def test_times_rise_with_u_and_stay_inside_the_span(times, path):
    span = (0.001, 0.7)
    t = times.quantile(torch.cat([torch.zeros(1, dtype=U.dtype), U, torch.ones(1, dtype=U.dtype)]), path, span)
    assert (t.diff() >= -1e-12).all()
    drawn = times.sample(1000, Draw(0), path, span)
    assert drawn.min() >= span[0]
    assert drawn.max() <= span[1]


@pytest.mark.parametrize("count", [32, 64, 256])
def test_spread_times_cover_each_of_their_strata(count):
    """Any power of two of consecutive samples has one in each of so many strata, up to the common shift."""
    u = paths.uniforms(count, Draw(1, "time"), "stratified")
    shifted = (u - u.min() + 1e-9).sort().values
    assert (shifted.diff() <= 1 / count + 1 / 256 + 1e-9).all()
    golden = paths.uniforms(count, Draw(1, "time")).sort().values
    assert golden.diff().max() < 2 / count
    assert paths.uniforms(count, Draw(1, "time"), "independent").sort().values.diff().max() > 2 / count


@pytest.mark.parametrize("spread", SPREADS)
def test_every_sample_alone_is_uniform(spread):
    """Over steps, sample 5 of a batch sees all times alike: no spread favours an index."""
    u = torch.stack([paths.uniforms(6, Draw(0, "time", step), spread)[5] for step in range(2000)])
    assert u.mean().item() == pytest.approx(0.5, abs=0.02)
    assert u.std().item() == pytest.approx(math.sqrt(1 / 12), abs=0.01)


def test_edms_noise_is_log_normal_on_every_path():
    """ln sigma ~ N(P_mean, P_std**2), in EDM's sigma = sigma / alpha: all but 3e-5 of it lies within these paths."""
    u = U[10:-10]
    z = torch.special.ndtri(u)
    for path in (paths.EDM(), Linear(), Cosine(), paths.VP()):
        c = path.coefficients(LogNormal(-1.2, 1.2).quantile(u, path))
        torch.testing.assert_close((c.sigma / c.alpha).log(), -1.2 + 1.2 * z, rtol=0, atol=2e-3)


def test_log_normal_times_are_cut_to_the_span_and_not_heaped_at_its_ends():
    path, span = paths.EDM(), (0.3, 0.6)
    t = LogNormal().sample(1000, Draw(0), path, span)
    assert ((t > span[0]) & (t < span[1])).all()
    ends = path.coefficients(torch.tensor(span, dtype=torch.float64)).sigma.log()
    share = torch.special.ndtr((ends + 1.2) / 1.2)
    middle = path.coefficients(LogNormal().quantile(torch.tensor([0.5], dtype=torch.float64), path, span)).sigma.log()
    torch.testing.assert_close(torch.special.ndtr((middle + 1.2) / 1.2), share.mean()[None])


def test_sd3s_densities():
    """Esser et al. 2024: the logit-normal's and the cosine map's densities, and f_mode at 1 - u."""
    t = LogitNormal(0.5, 0.8).quantile(U, Linear())
    density = torch.exp(-((torch.logit(t) - 0.5) ** 2) / (2 * 0.64)) / (0.8 * math.sqrt(2 * math.pi) * t * (1 - t))
    slope = (t[2:] - t[:-2]) / (U[2:] - U[:-2]) * density[1:-1]
    torch.testing.assert_close(slope[20:-20], torch.ones(957, dtype=t.dtype), rtol=0, atol=1e-3)
    t = CosMap().quantile(U, Linear())
    torch.testing.assert_close(t, 1 - 1 / (torch.tan(math.pi / 2 * U) + 1))
    torch.testing.assert_close(t, Linear().time_at(*Cosine().coefficients(U)[:2]))
    u, s = 1 - U, 1.29
    f_mode = 1 - u - s * (torch.cos(math.pi / 2 * u) ** 2 - 1 + u)
    torch.testing.assert_close(Mode(s).quantile(U, Linear()), f_mode)


def test_stops_are_the_steps_of_a_chain():
    """DDPM draws k uniformly from 0..T-1; alpha**2 at those times are the table's entries."""
    path = paths.Discrete.scheduled(steps=10)
    t = Stops(10).sample(2000, Draw(0), path)
    place = (t * 9).round()
    torch.testing.assert_close(t, place / 9)
    assert torch.bincount(place.long(), minlength=10).tolist() == pytest.approx([200] * 10, abs=3)
    torch.testing.assert_close(
        path.coefficients(t).alpha.square(), torch.tensor(path.alphas_cumprod, dtype=t.dtype)[place.long()]
    )


@pytest.mark.parametrize(
    "bad",
    [lambda: Mode(1.8), lambda: Mode(-1.1), lambda: Stops(1), lambda: paths.uniforms(3, Draw(0), "sobol")],
)
def test_impossible_times_are_refused(bad):
    with pytest.raises(ConfigError, match="Expected"):
        bad()
