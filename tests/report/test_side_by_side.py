"""Models side by side: the same noise, the numbers of each, and a picture that has them all."""

import io
import sys

import pytest
import torch

from gaussian import gaussian_model
from pushforward._errors import ConfigError
from pushforward.models import Diffusion, FlowMap, real_nvp
from pushforward.paths import VE, VP, Linear, x0
from pushforward.report import SideBySide, side_by_side, stages
from pushforward.report.compare import draw_samples
from pushforward.solvers import Jumps
from report.standin import gaussian_data

STD = 0.5


class Exact(torch.nn.Module):
    """The flow map of the optimal flow from noise to N(0, STD^2): straight lines."""

    shape = (2,)

    def forward(self, x, t, context=None, leap=None):
        return (1 - STD) * x / (t[:, None] + (1 - t[:, None]) * STD)


def bent(x, t, context=None):
    """The velocity of independent pairs, which one Euler step gets wrong."""
    t = t[:, None]
    return (t - (1 - t) * STD**2) / ((1 - t) ** 2 * STD**2 + t**2) * x


class ToDataAlone(torch.nn.Module):
    """The flow map of independent pairs, exact where it jumps to t = 0 and wild anywhere else."""

    shape = (2,)

    def forward(self, x, t, context=None, leap=None):
        spread = ((1 - t) ** 2 * STD**2 + t**2).sqrt()
        right = (1 - STD / spread) / t
        return x * torch.where(leap == t, right, -9.0)[:, None]


@pytest.fixture(scope="module")
def found() -> SideBySide:
    data = gaussian_data(1200, std=STD)
    models = {"map": FlowMap(Exact()), "flow": Diffusion(bent, Linear(), shape=(2,))}
    return side_by_side(models, data, calls=(1, 16), n=300, scored=60)


def test_every_model_at_every_number_of_calls(found: SideBySide) -> None:
    assert [(each.model, each.samples.calls) for each in found.lines] == [
        ("map", 1), ("map", 16), ("flow", 1), ("flow", 16)
    ]  # fmt: skip
    one, _, rough, fine = (each.row.energy.value for each in found.lines)
    assert rough > 10 * max(fine, 1e-3)
    assert abs(one - fine) < 0.02
    assert [each.bits is not None for each in found.lines] == [False, False, True, False]
    assert all(each.seconds > 0 for each in found.lines)


def test_all_start_from_the_same_noise(found: SideBySide) -> None:
    ends = [each.samples.x for each in found.lines]
    torch.testing.assert_close(ends[0], ends[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ends[0], ends[3], atol=2e-3, rtol=2e-2)


def test_few_calls_on_a_path_that_blows_up_are_those_of_the_straight_one() -> None:
    """Euler's method in VE's own time is off by a hundred deviations of the data."""
    data, ve = gaussian_data(600, std=STD), gaussian_model(VE(), x0, 0.0, STD).float()
    two, eight = (line.samples.x for line in side_by_side({"VE": ve}, data, (2, 8), n=300, scored=0).lines)
    straight = gaussian_model(Linear(), x0, 0.0, STD).float()
    exact = straight.sample(300, seed=0)
    torch.testing.assert_close(eight, exact, atol=0.05, rtol=0.05)
    assert (two - exact).square().mean() < STD**2


def test_a_normalizing_flow_takes_one_pass() -> None:
    flow = real_nvp((2,), couplings=4, hidden=8)
    (line,) = side_by_side({"flow": flow}, gaussian_data(600, std=STD), (2, 8), n=60, scored=0).lines
    assert line.samples.calls == 1


def test_a_map_of_jumps_to_data_alone_is_sampled_as_it_was_trained() -> None:
    data, model = gaussian_data(1200, std=STD), FlowMap(ToDataAlone(), solver=Jumps(renoise=1.0))
    far = [line.row.energy.value for line in side_by_side({"map": model}, data, (1, 2, 8), n=300, scored=0).lines]
    assert max(far) < 0.02
    assert draw_samples(FlowMap(ToDataAlone()), data, (2,), 300)[0].x.std() > 2  # without the noise it is lost
    for chunk in (256, 7):  # the fresh noise is that of `sample`, however the batch is split
        made = draw_samples(model, data, (4,), 300, seed=3, chunk=chunk)[0].x
        torch.testing.assert_close(made, model.sample(300, seed=3, steps=4))


def test_the_table_and_the_picture_have_every_line(found: SideBySide) -> None:
    text = str(found).splitlines()
    assert len(text) == 1 + 4 + 1
    assert text[-1].startswith("floor: real data")
    assert str(found.lines[2].row.energy) in text[3]
    drawn = found.picture()
    labels = [axes.get_ylabel() for axes in drawn.axes]
    assert labels[:4] == [f"{each.model}\n{each.row.title}" for each in found.lines]
    curves = {line.get_label() for line in drawn.axes[-1].get_legend_handles_labels()[0]}
    assert len(curves) == 3
    page = found.page("pushforward compare a b").html()
    assert page.count("<svg") >= 6
    assert "pushforward compare a b" in page


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_is_told_how_far_it_is(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", screen)
    data, model = gaussian_data(100), Diffusion(bent, Linear(), shape=(2,))
    side_by_side({"flow": model}, data, (1,), n=40, scored=0, progress=True)
    stages({"flow": model}, data, n=40, scored=0, progress=True)
    said = screen.getvalue()
    assert ("comparing" in said, "flow, calls=1" in said, "measuring" in said) == (terminal,) * 3
    assert bool(said) == terminal


def test_images_are_strips_of_the_first_ones() -> None:
    data = gaussian_data(200, (1, 4, 4), kind="image")
    models = {"vp": Diffusion(lambda x, t, context=None: torch.zeros_like(x), VP(), prediction=x0, shape=(1, 4, 4))}
    drawn = side_by_side(models, data, calls=(2,), n=60, scored=0).picture()
    strip = drawn.axes[0].images[0].get_array()
    assert strip.shape == (4, 10 * 5, 3)
    assert float(strip[:, :4].mean()) == pytest.approx(0.5, abs=0.1)


def test_models_of_other_events_are_refused() -> None:
    data = gaussian_data(200)
    with pytest.raises(ConfigError, match="'other', of events"):
        side_by_side({"other": Diffusion(bent, Linear(), shape=(3,))}, data)
    with pytest.raises(ConfigError, match="calls of 1 or more"):
        side_by_side({"one": Diffusion(bent, Linear(), shape=(2,))}, data, calls=(0,))
