"""Everybody's perfect network becomes the same exact model, and our model becomes everybody's network."""

import copy
import pickle

import pytest
import torch

from gaussian import gaussian_log_prob, gaussian_model
from interop.foreign import FOREIGN, MEAN, VAR, Foreign
from pushforward import interop, paths
from pushforward._errors import ConfigError, ConversionError, ShapeError
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion
from pushforward.nets import MLP
from pushforward.objectives import Regression
from pushforward.solvers import Adaptive, Heun

CAREFUL = Adaptive(rtol=1e-7, atol=1e-7)
TIMES = torch.linspace(0.05, 0.95, 6, dtype=torch.float64)


def points(n=6, shape=(2,)):
    return 0.3 + 0.5 * torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def adopted(name, shape=(2,), **changes):
    return interop.adopt(FOREIGN[name][0](), name, shape, **changes)


def exact_velocity(coefficients, x, t):
    """That of the Gaussian whose path is `coefficients`, by central differences in time."""
    h = 1e-5
    (a, s), (a1, s1), (a0, s0) = coefficients(t), coefficients(t + h), coefficients(t - h)
    a_dot, s_dot = (a1 - a0) / (2 * h), (s1 - s0) / (2 * h)
    rate = (a_dot * a * VAR + s_dot * s) / (a**2 * VAR + s**2)
    return a_dot[:, None] * MEAN + rate[:, None] * (x - a[:, None] * MEAN)


def test_every_convention_is_tried():
    assert FOREIGN.keys() == interop.CONVENTIONS.keys()


@pytest.mark.parametrize("name", FOREIGN)
def test_the_velocity_is_the_exact_one(name):
    x = points()
    expected = exact_velocity(FOREIGN[name][1], x, TIMES)
    torch.testing.assert_close(adopted(name).velocity(x, TIMES), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", FOREIGN)
def test_the_density_is_the_exact_one(name):
    model, coefficients, x = adopted(name), FOREIGN[name][1], points()
    (a, s), (b, r) = (coefficients(torch.tensor([t], dtype=torch.float64)) for t in model.reach)
    std, z_std = (a**2 * VAR + s**2).sqrt(), (b**2 * VAR + r**2).sqrt()
    z, ladj = model.encode_and_ladj(x, solver=CAREFUL)
    torch.testing.assert_close(z, b * MEAN + z_std * (x - a * MEAN) / std, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ladj, 2 * (z_std / std).log().expand(6), rtol=1e-5, atol=1e-5)
    # the base knows nothing of the little that is left of the data at t = 1
    torch.testing.assert_close(
        model.log_prob(x, solver=CAREFUL), gaussian_log_prob(x, a * MEAN, std), rtol=0, atol=0.02
    )


@pytest.mark.parametrize("name", FOREIGN)
def test_the_samples_are_right(name):
    x = adopted(name).sample(4000, seed=0, solver=Heun(steps=60))
    assert x.mean().item() == pytest.approx(0.3, abs=0.02)
    assert x.std().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", FOREIGN)
def test_gradients_reach_the_network(name):
    model = adopted(name)
    loss = Regression()(model, Batch(points(64)), Draw(0, "loss")).mean()
    (slope,) = torch.autograd.grad(loss, model.net.net.gain)
    assert slope.isfinite()
    assert slope != 0
    (slope,) = torch.autograd.grad(model.log_prob(points(), solver=Heun(steps=4)).sum(), model.net.net.gain)
    assert slope.isfinite()
    assert slope != 0


@pytest.mark.parametrize("name", FOREIGN)
def test_out_and_in_again_is_the_same_model(name):
    model = gaussian_model(paths.Cosine(), paths.v)
    again = interop.adopt(interop.to_convention(model, name), name, (2,))
    moved = model.on(again.path, again.prediction)
    torch.testing.assert_close(again.velocity(points(), TIMES), moved.velocity(points(), TIMES))


@pytest.mark.parametrize("name", FOREIGN)
def test_our_model_answers_as_their_network_does(name):
    """The same arguments give the same output, to the precision of the change of path."""
    theirs, row = FOREIGN[name][0](), interop.CONVENTIONS[name]
    ours = interop.to_convention(gaussian_model(paths.Linear(), paths.velocity), name)
    x, time = points(), row.time.theirs(TIMES, row.path)
    inputs = {} if not row.call.keywords else {row.call.x: x, row.call.t: time}
    if not inputs:
        named = {row.call.x: x, row.call.t: time}
        joined = (torch.cat([x, time[:, None]], 1),)
        arguments = joined if row.call.joined else tuple(named[each] for each in row.call.order)
    else:
        arguments = ()
    unpack = [each(*arguments, **inputs) for each in (theirs, ours)]
    a, b = (getattr(each, "sample", each) for each in unpack)
    a = a[0] if isinstance(a, tuple) else a
    torch.testing.assert_close(b, a[:, :2], rtol=1e-5, atol=1e-5)


def test_one_time_serves_a_whole_batch():
    ours = interop.to_convention(gaussian_model(paths.Linear(), paths.velocity), "flow_matching")
    x = points()
    torch.testing.assert_close(ours(x=x, t=0.3), ours(x=x, t=torch.full((6,), 0.3)))
    torch.testing.assert_close(ours(x=x, t=torch.tensor(0.3)), ours(x=x, t=torch.full((6,), 0.3)))
    with pytest.raises(ShapeError, match="a call with x and t"):
        ours(x=x)


def test_whole_steps_reach_networks_that_look_them_up():
    model = adopted("ddpm", time=interop.Steps(whole=True))
    model.velocity(points(), torch.full((6,), 0.5))
    assert torch.equal(model.net.net.seen, torch.full((6,), 500))
    assert not model.net.net.seen.is_floating_point()


def test_images_context_and_extras_arrive():
    class Conditional(Foreign):
        def forward(self, sample, timestep, encoder_hidden_states, guidance):
            self.seen = encoder_hidden_states, guidance
            return (torch.cat([self.gain * sample, sample], 1),)

    model = interop.adopt(Conditional(), "ddpm", (3, 4, 4), extras={"guidance": 2.0})
    context = torch.randn(5, 7)
    out = model.velocity(points(5, (3, 4, 4)), torch.full((5,), 0.5, dtype=torch.float64), context)
    assert out.shape == (5, 3, 4, 4)
    assert model.net.net.seen[0] is context
    assert model.net.net.seen[1] == 2.0


@pytest.mark.parametrize("prediction", ["v_prediction", "sample", "epsilon"])
@pytest.mark.parametrize("pure", [False, True])
def test_a_schedulers_configuration_says_path_and_prediction(prediction, pure):
    """A chain other than the default, in each of the three predictions, against the chain's own formulas."""
    config = {
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": prediction,
        "rescale_betas_zero_snr": pure, "num_train_timesteps": 1000, "clip_sample": False,
    }  # fmt: skip
    bar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
    if pure:
        root = bar.sqrt()
        bar = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2

    def net(sample, timestep):
        level = bar[timestep.round().long()][:, None]
        a, s = level.sqrt(), (1 - level).sqrt()
        rest = (sample - a * MEAN) / (level * VAR + 1 - level)
        data, noise = MEAN + a * VAR * rest, s * rest
        return {"sample": data, "epsilon": noise, "v_prediction": a * noise - s * data}[prediction]

    model = interop.adopt(net, "ddpm", (2,), **interop.from_scheduler(config))
    index, x = torch.tensor([0, 1, 250, 500, 900, 998]), points()
    level = bar[index][:, None]
    expected = -(x - level.sqrt() * MEAN) / (level * VAR + 1 - level)
    torch.testing.assert_close(model.score(x, index / 999.0 + 0.0 * TIMES), expected, rtol=1e-6, atol=1e-6)


def test_betas_may_be_listed():
    path = interop.from_scheduler({"trained_betas": [0.1, 0.2, 0.3]})["path"]
    torch.testing.assert_close(torch.tensor(path.alphas_cumprod), torch.tensor([0.9, 0.72, 0.504]))


@pytest.mark.parametrize("name", ["ddpm", "torchcfm"])
def test_an_adopted_model_can_be_copied_and_pickled(name):
    model = adopted(name, extras={})
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.path == model.path
        assert torch.equal(again.velocity(points(), TIMES), model.velocity(points(), TIMES))
        assert again.net.net.gain is not model.net.net.gain


def test_a_velocity_changes_sign_with_the_clock_alone():
    row = interop.CONVENTIONS["sit"]
    assert row.sign == -1
    assert row.changed(prediction="score").sign == 1
    assert interop.CONVENTIONS["sd3"].sign == 1


def test_our_network_survives_the_way_through_each_convention():
    """A network that is not Gaussian: through each convention and back, the samples stay."""
    torch.manual_seed(0)
    model = Diffusion(MLP((2,), hidden=8, layers=1)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    expected = model.sample(16, seed=0, solver=CAREFUL)
    for name in ("flow_matching", "torchcfm_mlp", "rectified_flow", "sd3"):
        again = interop.adopt(interop.to_convention(model, name), name, (2,))
        torch.testing.assert_close(again.sample(16, seed=0, solver=CAREFUL), expected, rtol=1e-5, atol=1e-5)


def test_unknown_names_list_the_known():
    with pytest.raises(ConfigError, match=r"flow_matching, torchcfm, .*score_sde_ve; got 'diffusers'"):
        interop.adopt(FOREIGN["ddpm"][0](), "diffusers", (2,))
    with pytest.raises(ConfigError, match=r"got 'predictions'. Did you mean 'prediction'"):
        adopted("ddpm", predictions="epsilon")
    with pytest.raises(ConversionError, match=r"Expected a prediction of x0"):
        adopted("ddpm", prediction="noise")


def test_time_in_steps_needs_a_table():
    with pytest.raises(ConfigError, match=r"paths.Discrete for a time in steps; got VP"):
        adopted("ddpm", path=paths.VP()).velocity(points(), TIMES)


def test_outputs_of_another_shape_are_named():
    with pytest.raises(ShapeError, match=r"an output of shape \(6, 2\); got \(6, 5\)"):
        interop.adopt(lambda x, t: torch.zeros(6, 5), "flux", (2,), call=interop.Call()).velocity(points(), TIMES)
    with pytest.raises(ShapeError, match=r"object with .sample; got dict"):
        interop.adopt(lambda x, t: {}, "flux", (2,), call=interop.Call()).velocity(points(), TIMES)
