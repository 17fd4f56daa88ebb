"""Blocks recomputed or compiled: the same numbers, and a model that shows nothing of it."""

import warnings

import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward._recipe import MLP, Diffusion, FlowMap, RealNVP, Transformer
from pushforward.data.batch import Batch
from pushforward.training import Settings, build, train
from pushforward.training import blocks as room
from pushforward.training.blocks import Rerouted, blocks
from training.stand_in import Circle, Straight, flow_matching

SETTINGS = Settings(steps=12, batch=16, device="cpu", threads=1)
SMALL = Diffusion(Transformer(width=32, layers=3, heads=2))


def model_of(recipe, shape=(1, 8, 8)):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(recipe, shape)
        for p in model.parameters():
            if p.requires_grad and not p.any():
                nn.init.normal_(p, std=0.05)  # what starts at zero has no gradient behind it
        return model


def saved_bytes(model, recompute: bool) -> tuple[int, list[torch.Tensor]]:
    """What a backward pass keeps of the forward pass, weights aside, and the gradients."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        place = tensor.untyped_storage()
        if place.data_ptr() not in weights:
            kept[place.data_ptr()] = place.nbytes()
        return tensor

    batch = Batch(Draw(0, "x").normal(16, model.shape))
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, Rerouted(model, recompute, False).here():
        loss = pf.objectives.Regression()(model, batch, Draw(0, "train")).sum()
    return sum(kept.values()), list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


def test_recomputed_gradients_are_the_same_bits_from_less_memory():
    model = model_of(SMALL)
    plain, expected = saved_bytes(model, recompute=False)
    less, found = saved_bytes(model, recompute=True)
    assert all(torch.equal(a, b) for a, b in zip(expected, found))
    assert any(g.abs().max() > 0 for g in found)
    assert less < 0.25 * plain


def test_recomputed_training_has_the_same_bits_with_dropout():
    def trained(**changes):
        model = Straight(dropout=0.2)
        train(model, Circle(), flow_matching, settings=SETTINGS, progress=False, **changes)
        return list(model.parameters())

    assert all(torch.equal(a, b) for a, b in zip(trained(), trained(recompute=True)))
    pairs = zip(trained(accumulate=2, precision="bf16"), trained(accumulate=2, precision="bf16", recompute=True))
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_flow_maps_derivatives_pass_the_blocks_as_written():
    model = model_of(FlowMap(Transformer(width=32, layers=1, heads=2)))
    objective = pf.objectives.few_steps.mean_flow(diagonal=0.5, times=pf.paths.Uniform())
    batch = Batch(Draw(0, "x").normal(4, model.shape))
    expected = objective(model, batch, Draw(0, "train"))
    with Rerouted(model, recompute=True, compile=False).here():
        assert torch.equal(objective(model, batch, Draw(0, "train")), expected)


@pytest.mark.parametrize(
    ("recipe", "shape", "count"),
    [
        (SMALL, (1, 8, 8), 3),
        (Diffusion(MLP(hidden=8, layers=2)), (2,), 2),
        (RealNVP(couplings=4, hidden=8), (4,), 4),
    ],
)
def test_blocks_are_the_layers_of_layers(recipe, shape, count):
    found = list(blocks(model_of(recipe, shape)))
    assert len(found) == count
    assert len({type(each) for each in found}) == 1


def test_a_model_shows_nothing_of_it():
    model = model_of(SMALL)
    names, rerouted = list(model.state_dict()), Rerouted(model, recompute=True, compile=False)
    with rerouted.here():
        assert all("forward" in each.__dict__ for each in blocks(model))
    assert not any("forward" in each.__dict__ for each in model.modules())
    assert list(model.state_dict()) == names


def test_what_has_no_blocks_is_told():
    with pytest.raises(ConfigError, match=r"a model with blocks .* for recompute; got Linear"):
        Rerouted(nn.Linear(2, 2), recompute=True, compile=False)


def test_without_a_compiler_it_is_left_out_with_a_warning(monkeypatch):
    def broken(function):
        raise RuntimeError("no working C++ compiler was found")

    monkeypatch.setattr(room.torch, "compile", broken)
    compiled, plain = Straight(), Straight()
    with pytest.warns(UserWarning, match=r"compile is left out: .* no working C\+\+ compiler"):
        history = train(compiled, Circle(), flow_matching, settings=SETTINGS, progress=False, compile=True)
    assert history.losses == train(plain, Circle(), flow_matching, settings=SETTINGS, progress=False).losses


def test_each_block_is_compiled_and_used(monkeypatch):
    calls = []

    def compiling(function):
        def counted(*arguments):
            calls.append(function)
            return function(*arguments)

        return counted

    monkeypatch.setattr(room.torch, "compile", compiling)
    model = Straight()
    train(model, Circle(), flow_matching, settings=SETTINGS, progress=False, compile=True)
    used = [call for call in calls if getattr(call, "__self__", None) in set(model.blocks)]
    assert len(used) == 2 * SETTINGS.steps


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_training_is_near_the_eager_one(recompute):
    batch = pf.data.digits().unlabelled()
    losses = []
    for compile in (False, True):
        model = model_of(Diffusion(Transformer(width=32, layers=2, heads=2)), batch.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own, about `.grad` of what it traces
            history = train(model, batch, pf.objectives.Regression(), settings=SETTINGS, progress=False, log_every=1,
                            compile=compile, recompute=recompute)  # fmt: skip
        losses.append(history.losses)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
