"""A page about models whose quality is known."""

import pytest
import torch

from pushforward._errors import ShapeError
from pushforward.models import Diffusion, FlowMap
from pushforward.report import Facts, Figure, Table, build, write
from pushforward.report.classifier import random_judge
from pushforward.report.compare import compare, draw_samples, is_conditional, solver_for
from report.standin import gaussian_data, gaussian_model, history, images_data


def titles(page) -> list[str]:
    return [section.title for section in page.sections]


def blocks(page, kind) -> list:
    return [block for section in page.sections for block in section.blocks if isinstance(block, kind)]


def test_points_from_end_to_end(tmp_path):
    data, model = gaussian_data(), gaussian_model()
    path = write(
        model, data, tmp_path / "page.html", history=history(), before=gaussian_model(std=0.4), calls=(1, 8), n=300
    )
    text = path.read_text(encoding="utf-8")
    assert "Drawn &lt;here&gt; &amp; now." in text
    page = build(model, data, history=history(), calls=(1, 8), n=300)
    assert titles(page) == ["At a glance", "Samples", "Distances", "Paths", "Memory", "Training", "How to reproduce"]
    assert [p.title for p in blocks(page, Figure)[0].pictures] == ["held-out data", "1 network call", "8 network calls"]


def test_equal_arguments_give_equal_pages():
    def page() -> str:
        return build(gaussian_model(), gaussian_data(), calls=(2,), n=100, history=history()).html()

    assert page() == page()


def test_the_table_orders_samplers_and_the_exact_model_reaches_the_floor():
    data, model = gaussian_data(600, std=0.25), gaussian_model(std=0.25)
    rows = compare(draw_samples(model, data, (1, 32), 500), data, random_judge(data.shape))
    one, many, floor = rows
    assert one.energy.value > many.energy.value + 3 * one.energy.error
    assert abs(many.energy.value - floor.energy.value) < 4 * (many.energy.error + floor.energy.error)
    assert floor.calls is None


def test_a_model_that_remembers_is_seen_by_its_nearest_neighbours():
    data = gaussian_data(400)
    sets = draw_samples(gaussian_model(), data, (8,), 200)
    from dataclasses import replace

    copied = (replace(sets[0], x=data.values[:200] + 1e-4),)
    critic = random_judge(data.shape)
    row, floor = compare(copied, data, critic)
    assert row.nearest < 0.1 * floor.nearest
    assert compare(sets, data, critic)[0].nearest > 0.5 * floor.nearest


def test_network_calls_are_counted_and_the_noise_is_shared():
    sets = draw_samples(gaussian_model(), gaussian_data(), (1, 2, 3, 4, 8), 10, chunk=4)
    assert [s.calls for s in sets] == [1, 2, 3, 4, 8]
    assert all(len(s.x) == 10 for s in sets)
    many = gaussian_model().sample(10, solver=solver_for(8, gaussian_model()), seed=0)
    assert torch.allclose(sets[-1].x, many, atol=1e-6)


def test_a_flow_map_is_sampled_by_jumps():
    model = FlowMap.of(gaussian_model().float())
    sets = draw_samples(model, gaussian_data(), (1, 2, 8), 10, chunk=4)
    assert [s.calls for s in sets] == [1, 2, 8]
    torch.testing.assert_close(sets[-1].x, model.sample(10, steps=8, seed=0))


def test_images_with_classes():
    data = images_data()
    page = build(gaussian_model(data.shape, 0.8), data, calls=(1, 2), n=60)
    assert all(p.ink for p in blocks(page, Figure)[0].pictures)
    assert any("classifier trained" in table.caption for table in blocks(page, Table))
    assert blocks(page, Facts)[0].items[0][0] == "Bits per dimension"


def test_tables_are_shown_as_pairs():
    data = gaussian_data(200, (3,), kind="table", columns=("height", "mass", "age"))
    page = build(gaussian_model((3,)), data, calls=(4,), n=100)
    assert len(blocks(page, Figure)[0].pictures) == 1
    assert "Columns against one another" in blocks(page, Figure)[0].caption


class Conditional(torch.nn.Module):
    """Flows to the class given: every sample of class k ends at k."""

    classes = 2
    shape = (1, 8, 8)

    def forward(self, x, t, context=None):
        return (x - (context.reshape(-1, 1, 1, 1).to(x) - 0.5)) / t.reshape(-1, 1, 1, 1).clamp_min(0.05)


def test_context_reaches_a_conditional_model():
    data, model = images_data(), Diffusion(Conditional())
    assert is_conditional(model, data)
    assert not is_conditional(gaussian_model(data.shape), data)
    sets = draw_samples(model, data, (1,), 20, conditional=True)
    assert torch.allclose(sets[0].x.flatten(1).mean(1), sets[0].context - 0.5, atol=1e-5)


def test_the_mode_of_the_model_is_left_as_it_was():
    data, net = images_data(60), torch.nn.Sequential(torch.nn.Dropout())
    model = gaussian_model(data.shape)
    model.add_module("extra", net)
    model.train()
    net.eval()
    build(model, data, calls=(1,), n=50)
    assert model.training
    assert not net.training


def test_samples_that_are_not_finite_are_refused():
    broken = Diffusion(lambda x, t, context=None: x * torch.nan, shape=(2,))
    with pytest.raises(ShapeError, match="finite"):
        build(broken, gaussian_data(), calls=(1,), n=50)
