"""Reflow stages: numbers of models that are known, and the advice that follows from numbers."""

import pytest

from gaussian import gaussian_model
from pushforward._errors import ConfigError
from pushforward.models import Diffusion
from pushforward.paths import VE, VP, Linear, Path, velocity
from pushforward.report import Estimate, Stage, Stages, Straightness, stages
from report.standin import gaussian_data

STD = 0.5


def gaussian(x, t, context=None):
    """The velocity of independent pairs of N(0, STD^2) and noise: its paths bend."""
    t = t[:, None]
    return (t - (1 - t) * STD**2) / ((1 - t) ** 2 * STD**2 + t**2) * x


def straightened(x, t, context=None):
    """The same ends, in straight lines: x_t = (t + (1 - t) STD) eps."""
    return (1 - STD) * x / (t[:, None] + (1 - t[:, None]) * STD)


@pytest.fixture(scope="module")
def measured() -> Stages:
    data = gaussian_data(1500, std=STD)
    models = {name: Diffusion(net, Linear(), shape=(2,)) for name, net in (("first", gaussian), ("re", straightened))}
    return stages(models, data, n=400, scored=100)


def test_the_optimal_flow_is_what_reflow_promises(measured: Stages) -> None:
    first, again = measured.each
    assert first.paths.relative > 0.05
    assert again.paths.relative < 1e-9
    assert again.paths.transport.value == pytest.approx(first.paths.transport.value, rel=1e-2)
    assert again.one.value == pytest.approx(again.many.value, abs=1e-4)
    assert first.one.value > 3 * first.many.value + 0.01
    assert first.bits.value == 0
    assert abs(again.bits.value) < 2e-3
    assert "first" in str(measured).splitlines()[1]
    assert "Bend" in measured.table.html()


def test_what_was_measured_is_advised(measured: Stages) -> None:
    before = Stages(measured.each[:1])
    assert before.pays
    assert "may pay" in before.advice()
    assert not measured.pays
    assert "the paths are straight" in measured.advice()


@pytest.mark.parametrize("path", [VP(), VE()], ids=["VP", "VE"])
def test_stages_on_other_paths_are_measured_on_the_straight_one(path: Path) -> None:
    """One flow has one bend and one cost there, but for the data that are left in its noise."""
    data = gaussian_data(600, std=STD)
    models = {str(each): gaussian_model(each, velocity, 0.0, STD, (2,)) for each in (Linear(), path)}
    plain, other = stages(models, data, n=400, scored=0).each
    assert other.paths.relative == pytest.approx(plain.paths.relative, rel=0.03)
    assert other.paths.transport.value == pytest.approx(plain.paths.transport.value, rel=0.05)
    assert other.one.value == pytest.approx(plain.one.value, rel=0.05)
    assert other.many.value == pytest.approx(plain.many.value, abs=2e-3)


def stage(name: str, bend: float, one: float, many: float) -> Stage:
    """A stage with errors of 0.01."""
    known = Straightness(Estimate(bend), Estimate(bend), Estimate(1.0), bend)
    return Stage(name, known, None, Estimate(one, 0.01), Estimate(many, 0.01))


ADVICE = {
    "paths that bend": ([(0.3, 2.0, 0.05), (0.1, 0.4, 0.05)], "may pay: 10.0%"),
    "straight": ([(0.3, 2.0, 0.05), (0.009, 0.4, 0.05)], "(bend 0.90%)"),
    "one call is enough": ([(0.3, 2.0, 0.05), (0.1, 0.07, 0.05)], "one call (0.070 ± 0.010) is as good as 32"),
    "worse than before": ([(0.3, 2.0, 0.05), (0.001, 0.1, 0.1)], "Go on from s0"),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice(case: str) -> None:
    numbers, words = ADVICE[case]
    found = Stages(tuple(stage(f"s{i}", *each) for i, each in enumerate(numbers)))
    assert words in found.advice()
    assert found.pays == (case == "paths that bend")


def test_nothing_to_measure() -> None:
    with pytest.raises(ConfigError, match="n of 3 or more"):
        stages({}, gaussian_data(100))
