"""Recipes: built, written down, read again, trained, saved and loaded."""

import inspect
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from typing import get_args

import pytest
import torch

from laws import zoo_recipes
from pushforward import _config, models
from pushforward._errors import ConfigError
from pushforward._recipe import (
    FLOWS,
    KINDS,
    MAF,
    MLP,
    Diffusion,
    FlowMap,
    Gaussianization,
    Glow,
    NSFCouplings,
    RealNVP,
    Recipe,
    ResidualFlow,
    Run,
    Settings,
    Table,
    TarFlow,
    Transformer,
)
from pushforward.data.batch import Batch
from pushforward.objectives import Likelihood, Redrawn, Regression, few_steps
from pushforward.training import build, load, save_run, train
from training.stand_in import Circle

SMALL = Transformer(width=16, layers=1, heads=2, patch=2)
RECIPES: dict[str, Recipe] = {
    "transformer": Diffusion(SMALL),
    "mlp": Diffusion(MLP(hidden=8, layers=1)),
    "transformer, slow times": Diffusion(replace(SMALL, fastest=2.0)),
    "mlp, slow times": FlowMap(MLP(hidden=8, layers=1, fastest=4.0)),
    **zoo_recipes.FLOWS,
    "a flow of bounded data": RealNVP(2, hidden=8, layers=1, support=(-6.0, 6.0), alpha=0.01),
    "a spline of bounded data": NSFCouplings(2, hidden=8, blocks=1, support=(-6.0, 6.0)),
    "residual_flow, exact": ResidualFlow(1, hidden=8, layers=1),
    **{name: Diffusion(replace(SMALL, position=name)) for name in get_args(Transformer.__annotations__["position"])},
    **{path: Diffusion(MLP(8, 1), path) for path in ("polynomial", "vp", "sub_vp", "cosine", "discrete", "ve", "edm")},
    **{f"predicting {m}": Diffusion(MLP(8, 1), "vp", m) for m in ("x0", "eps", "v", "score")},
    "flow map": FlowMap(SMALL),
    "flow map with a critic": FlowMap(MLP(8, 1), critic=True),
    "flow map on another path": FlowMap(MLP(8, 1), "cosine", "v"),
    "predicting edm": Diffusion(MLP(8, 1), "edm", "edm"),
}


@dataclass(frozen=True)
class Classes(Circle):
    """Small images of noise in three classes."""

    classes: int = 3

    @property
    def shape(self):
        return (1, 4, 4)

    def batches(self, size, draw, start=0, rank=0, world=1):
        while True:
            step = draw.at(start)
            labels = step.of("class").integers(size, self.classes) if self.classes else None
            yield Batch(step.of("x").normal(size, self.shape).clamp(-3, 3), labels)
            start += 1


@pytest.mark.parametrize("name", [*RECIPES, "table"])
def test_a_recipe_survives_the_file(name):
    recipe = Table(MAF(2), conditionals=0.25) if name == "table" else RECIPES[name]
    run = Run(Settings(lr=3e-4, threads=2), (1, 4, 4), 3, "x", "y", recipe)
    text = _config.dumps(run, KINDS)
    assert _config.from_table(Run, _config.loads(text), KINDS) == run


def test_every_kind_has_a_small_recipe():
    assert {type(recipe) for recipe in RECIPES.values()} | {MLP, Transformer, Table} == set(KINDS.values())
    assert {name: type(recipe) for name, recipe in zoo_recipes.FLOWS.items()} == dict(FLOWS)


@pytest.mark.parametrize("name", FLOWS)
def test_the_fields_of_a_flow_are_its_functions_arguments(name):
    """With the same defaults, but for MAF, NSF and NAF, which begin smaller, and what plain values cannot say."""
    recipe, function = (
        FLOWS[name],
        getattr(models, {"nsf": "nsf_autoregressive", "nsf_couplings": "nsf"}.get(name, name)),
    )
    ours = {each.name: each.default for each in fields(recipe)}
    theirs = {key: each.default for key, each in inspect.signature(function).parameters.items()}
    common = {"support": None, "alpha": 0.05, "dropout": 0.0}  # where the function takes them as **options
    given = {key: theirs.get(key, common.get(key)) for key in ours}
    assert given.keys() <= theirs.keys() | (common.keys() if "options" in theirs or "common" in theirs else set())
    smaller = {"transforms", "hidden"} if name in ("maf", "nsf", "naf") else set()
    differing = {key for key in ours if ours[key] != given[key]} - smaller
    assert differing <= {"log_det"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_and_comes_back(name, tmp_path):
    recipe = RECIPES[name]
    trained_by = {Diffusion: Regression(), FlowMap: few_steps.mean_flow(), ResidualFlow: Redrawn(Likelihood())}
    objective = trained_by.get(type(recipe), Likelihood())
    classes = 0 if name in zoo_recipes.UNLABELLED else 3
    torch.manual_seed(0)
    model = build(recipe, (1, 4, 4), classes)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    settings = Settings(steps=3, batch=8, warmup=0, device="cpu", threads=1, log_every=1, checkpoint_every=0)
    history = train(
        model, Classes(classes=classes), objective, settings=settings, run=tmp_path, progress=False, recipe=recipe
    )
    assert all(torch.isfinite(torch.tensor(history.losses)))
    assert any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
    again = load(tmp_path)
    assert model.state_dict().keys() == again.state_dict().keys()
    x, labels = torch.randn(2, 1, 4, 4), torch.tensor([0, 2]) if classes else None
    with torch.no_grad():
        if isinstance(recipe, FlowMap):
            assert torch.equal(again.sample(2, labels, steps=2, seed=0), model.sample(2, labels, steps=2, seed=0))
        elif isinstance(recipe, Diffusion):
            t = torch.tensor([0.3, 0.6])
            torch.testing.assert_close(again.velocity(x, t, labels), model.velocity(x, t, labels), rtol=0, atol=0)
        else:
            torch.testing.assert_close(again.log_prob(x, labels), model.log_prob(x, labels), rtol=0, atol=0)


@pytest.mark.parametrize("net", [SMALL, MLP(hidden=8, layers=1)])
def test_a_recipe_says_how_fast_the_waves_of_its_time_are(net):
    """A run from before it could be said has 64 cycles; the net of a flow map keeps its teacher's."""
    said = _config.to_table(net)
    del said["fastest"]
    assert _config.from_table(type(net), said).fastest == 64
    for recipe in (Diffusion(replace(net, fastest=2.0)), FlowMap(replace(net, fastest=2.0))):
        condition = build(recipe, (1, 4, 4)).net.condition
        assert condition.time.fastest == 2
    with pytest.raises(ConfigError, match=r"more than 0\.25 cycles; got fastest=0"):
        build(Diffusion(replace(net, fastest=0.0)), (1, 4, 4))


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_saved_and_loaded_to_the_bit(name, tmp_path):
    recipe, classes = zoo_recipes.FLOWS[name], 0 if name in zoo_recipes.UNLABELLED else 3
    torch.manual_seed(1)
    model = build(recipe, (1, 4, 4), classes).eval()
    save_run(model, tmp_path / "run", recipe, classes)
    again, context = load(tmp_path / "run"), torch.tensor([2, 0, 1]) if classes else None
    assert torch.equal(again.sample(3, context, seed=0), model.sample(3, context, seed=0))


@pytest.mark.parametrize(
    ("recipe", "shape", "classes", "message"),
    [
        (Glow(levels=1, steps=1, hidden=8), (16,), 0, r"images \[c, h, w\]"),
        (Glow(levels=3, steps=1, hidden=8), (1, 4, 4), 0, "take fewer levels"),
        (TarFlow(1, 16, 1, 2), (16,), 0, "vectors, maf say"),
        (RealNVP(), (1,), 0, "events of two numbers or more"),
        (Gaussianization(), (2,), 3, "no context"),
    ],
)
def test_what_a_flow_cannot_have_is_refused(recipe, shape, classes, message):
    with pytest.raises(ConfigError, match=message):
        build(recipe, shape, classes)


def test_a_tables_flow_has_its_support_from_the_columns():
    with pytest.raises(ConfigError, match="Bound columns instead"):
        Table(MAF(support=(0.0, 1.0)))


def test_what_is_no_recipe_is_refused():
    with pytest.raises(ConfigError, match="a recipe of a model"):
        build(SMALL, (1, 4, 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": -1}, "steps to be 0 or more"),
        ({"accumulate": 0}, "accumulate to be 1 or more"),
        ({"lr": float("inf")}, "lr to be a positive number"),
        ({"ema": 1.0}, "ema to be in"),
        ({"betas": (0.9, 1.0)}, "betas to be two numbers"),
        ({"threads": 0}, "threads to be 1 or more"),
        ({"schedule": "wsd"}, "schedule to be 'cosine' or 'constant'"),
        ({"precision": "int4"}, "precision to be auto"),
        ({"leraning_rate": 1.0}, "a training setting"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        Settings().changed(**change)


def test_recipes_do_not_import_torch():
    program = "import sys, pushforward._recipe; sys.exit('torch' in sys.modules)"
    path = {"PYTHONPATH": str(sys.modules["pushforward"].__path__[0]) + "/.."}
    assert subprocess.run([sys.executable, "-c", program], env=path).returncode == 0
