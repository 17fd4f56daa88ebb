"""Guidance on mixtures, where every density and every classifier is known."""

import itertools

import pytest
import torch

from laws.zoo_oracles import events
from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward import models, nets, paths
from pushforward.models import Diffusion, autoguided, classifier_guided, guided
from pushforward.solvers import Adaptive, Heun

GRID = list(itertools.product(PATHS, PREDICTIONS))
LABELS = torch.tensor([0, 1, 1, 0, 1, 0])


def two(path=None, prediction=paths.v, std=0.3):
    return models.mixture(
        [1.0, 3.0, 2.0], [[1.0, 0.0], [-1.0, 0.5], [0.0, 0.2]], std, path, prediction, labels=[0, 1, 0]
    )


def queries(n=6):
    return 0.7 * events(n, seed=3), torch.linspace(0.06, 0.94, n, dtype=torch.float64)


def classifier(oracle):
    """log p(class | x_t), the shares of the classes being those of the weights."""
    shares = torch.stack([oracle.log_weights[oracle.labels == k].logsumexp(0) for k in range(oracle.classes)])

    def log_prob(x, t, context):
        return oracle.log_prob(x, t, context) + shares.to(x)[context] - oracle.log_prob(x, t)

    return log_prob


class Counted(torch.nn.Module):
    """A network that remembers how many events each call had."""

    def __init__(self, oracle):
        super().__init__()
        self.oracle, self.calls, self.shape, self.classes = oracle, [], oracle.shape, oracle.classes

    def forward(self, x, t, context=None):
        self.calls.append(len(x))
        return self.oracle(x, t, context)


def counted(scale, interval):
    model = two()
    net = Counted(model.net)
    return guided(Diffusion(net, model.path, model.prediction), scale, interval), net


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_the_score_is_that_of_the_tilted_density(scale):
    """By quadrature: E[s] = 0 and E[(x - c) s] = -1 under p(x | class)**scale p(x)**(1 - scale), on a line."""
    model = models.mixture([1.0, 2.0, 1.0], [[-1.0], [0.5], [2.0]], [0.4, 0.3, 0.5], labels=[0, 0, 1])
    line = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
    context = torch.zeros(len(line), dtype=torch.long)
    for time in (0.2, 0.5, 0.9):
        t = torch.full((len(line),), time, dtype=torch.float64)
        tilted = scale * model.net.log_prob(line, t, context) + (1 - scale) * model.net.log_prob(line, t)
        p = tilted.softmax(0)
        s = guided(model, scale).score(line, t, context)[:, 0]
        assert (p * s).sum().item() == pytest.approx(0.0, abs=1e-9)
        assert (p * line[:, 0] * s).sum().item() == pytest.approx(-1.0, abs=1e-9)


@pytest.mark.parametrize(("path", "prediction"), GRID, ids=["-".join(pair) for pair in GRID])
def test_guidance_is_linear_in_every_prediction(path, prediction):
    """The guided output of each row is the row of the guided velocity."""
    model = two(PATHS[path], PREDICTIONS[prediction])
    x, t = queries()
    none, given = model.score(x, t), model.score(x, t, LABELS)
    torch.testing.assert_close(guided(model, 2.5).score(x, t, LABELS), none + 2.5 * (given - none))
    weak = two(paths.Cosine(), paths.eps, std=0.6)  # of another path and prediction
    other = two(PATHS[path], paths.v, std=0.6).score(x, t)
    both = autoguided(model, weak, 2.5).score(x, t)
    torch.testing.assert_close(both, other + 2.5 * (none - other), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("path", "prediction"), GRID, ids=["-".join(pair) for pair in GRID])
def test_the_true_classifier_makes_the_conditional_model(path, prediction):
    model = two(PATHS[path], PREDICTIONS[prediction])
    x, t = queries()
    t = 0.9 * t  # alpha is above sigma / 100 on every path
    known = classifier_guided(model, classifier(model.net))
    torch.testing.assert_close(known.score(x, t, LABELS), model.score(x, t, LABELS), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(known.velocity(x, t, LABELS), model.velocity(x, t, LABELS), rtol=1e-8, atol=1e-8)


def test_a_classifier_guides_up_to_both_ends():
    """At t = 1 its gradient is 0 and what it says of x0 is a limit."""
    model = two(paths.Linear(), paths.velocity)
    known = classifier_guided(model, classifier(model.net))
    x, _ = queries()
    for time, close in ((0.0, 1e-12), (1.0, 0.02)):
        t = torch.full((6,), time, dtype=torch.float64)
        torch.testing.assert_close(known.velocity(x, t, LABELS), model.velocity(x, t, LABELS), rtol=0, atol=close)


def test_a_guided_model_scores_and_samples_like_any_other():
    model, x = two(), queries()[0]
    careful = Adaptive(rtol=1e-6, atol=1e-7)
    known = classifier_guided(model, classifier(model.net))
    exact = model.net.log_prob(x, torch.zeros(6, dtype=torch.float64), LABELS)
    assert (known.log_prob(x, LABELS, careful) - exact).abs().max() < 0.02  # what no classifier says at t > 0.99
    assert (guided(model, 1.0).log_prob(x, LABELS, careful) - exact).abs().max() < 1e-4
    far = guided(model, 4.0).sample(400, torch.ones(400, dtype=torch.long), Heun(steps=20), seed=0)
    near = model.sample(400, torch.ones(400, dtype=torch.long), Heun(steps=20), seed=0)
    assert far[:, 0].mean() < near[:, 0].mean() - 0.05  # away from class 0, on its right


def test_scales_0_and_1_are_the_models_themselves():
    model, (x, t) = two(), queries()
    assert torch.equal(guided(model, 1.0).raw(x, t, LABELS), model.raw(x, t, LABELS))
    torch.testing.assert_close(guided(model, 0.0).raw(x, t, LABELS), model.raw(x, t))
    assert torch.equal(guided(model, 7.0).raw(x, t), model.raw(x, t))
    weak = two(std=0.6)
    assert torch.equal(autoguided(model, weak, 1.0).raw(x, t), model.raw(x, t))
    torch.testing.assert_close(autoguided(model, weak, 0.0).raw(x, t), weak.raw(x, t))
    torch.testing.assert_close(classifier_guided(model, classifier(model.net), 0.0).raw(x, t, LABELS), model.raw(x, t))


def test_outside_of_the_interval_the_model_is_called_alone():
    model, net = counted(3.0, (0.3, 0.6))
    x, t = queries()  # 0.06, 0.236, 0.412, 0.588, 0.764, 0.94
    always, never = guided(two(), 3.0), two()
    out = model.raw(x, t, LABELS)
    torch.testing.assert_close(out[2:4], always.raw(x, t, LABELS)[2:4])
    assert torch.equal(out[[0, 1, 4, 5]], never.raw(x, t, LABELS)[[0, 1, 4, 5]])
    model.raw(x[:2], t[:2], LABELS[:2])
    model.raw(x[2:4], t[2:4], LABELS[2:4])
    assert net.calls == [8, 2, 4]


@pytest.mark.parametrize("time", [0.3, 0.6])
def test_the_ends_of_the_interval_belong_to_it(time):
    model, net = counted(3.0, (0.3, 0.6))
    x = queries()[0][:1]
    for t in (time, time - 1e-6, time + 1e-6):
        model.raw(x, torch.tensor([t], dtype=torch.float64), LABELS[:1])
    assert net.calls == ([2, 1, 2] if time == 0.3 else [2, 2, 1])


def test_an_interval_of_log_snr_is_one_of_times():
    path = paths.Cosine()
    x, t = queries()
    ends = path.log_snr(torch.tensor([0.7, 0.2], dtype=torch.float64)).tolist()
    by_snr, by_time = guided(two(path), 3.0, log_snr=ends), guided(two(path), 3.0, (0.2, 0.7))
    assert torch.equal(by_snr.raw(x, t, LABELS), by_time.raw(x, t, LABELS))
    weak = two(path, std=0.6)
    a, b = autoguided(two(path), weak, 3.0, log_snr=ends), autoguided(two(path), weak, 3.0, (0.2, 0.7))
    assert torch.equal(a.raw(x, t), b.raw(x, t))


def test_transforms_of_functions_see_the_same_field():
    x, t = queries()
    for model in (guided(two(), 3.0, (0.3, 0.6)), classifier_guided(two(), classifier(two().net), 2.0)):

        def alone(x, t, label, model=model):
            return model.velocity(x[None], t[None], label[None])[0]

        torch.testing.assert_close(torch.func.vmap(alone)(x, t, LABELS), model.velocity(x, t, LABELS))
        jacobian = torch.autograd.functional.jacobian(lambda x, m=model: m.velocity(x, t, LABELS).sum(0), x)
        torch.testing.assert_close(torch.func.vmap(torch.func.jacfwd(alone))(x, t, LABELS), jacobian.movedim(1, 0))


def test_parameters_are_shared_and_vectors_of_context_have_their_none():
    net = nets.MLP((2,), hidden=8, layers=1, context=3)
    torch.nn.init.normal_(net.leave.weight)
    model, (x, t) = Diffusion(net), queries()
    x, t, context = x.float(), t.float(), torch.randn(6, 3)
    wrapped = guided(model, 2.0)
    assert {id(p) for p in wrapped.parameters()} == {id(p) for p in model.parameters()}
    torch.testing.assert_close(wrapped.raw(x, t, context), 2 * model.raw(x, t, context) - model.raw(x, t))
    none = torch.tensor([1.0, 2.0, 3.0])
    away = guided(model, 2.0, unconditional=none).raw(x, t, context)
    torch.testing.assert_close(away, 2 * model.raw(x, t, context) - model.raw(x, t, none.expand(6, 3)))
    wrapped.raw(x, t, context).sum().backward()
    assert net.leave.weight.grad is not None
    net.eval()
    assert guided(model, 2.0).training
    assert not net.training


def test_a_guided_model_moves_to_another_path():
    x, t = queries()
    moved = guided(two(paths.Linear(), paths.v), 2.5).on(paths.Cosine(), paths.eps)
    there = guided(two(paths.Cosine(), paths.eps), 2.5)
    torch.testing.assert_close(moved.velocity(x, t, LABELS), there.velocity(x, t, LABELS), rtol=1e-6, atol=1e-6)


def test_rescaling_brings_the_spread_back():
    model, (x, t) = two(), queries()
    given = model.raw(x, t, LABELS)
    whole, half = (guided(model, 5.0, rescale=r).raw(x, t, LABELS) for r in (1.0, 0.5))
    torch.testing.assert_close(whole.std(1), given.std(1))
    torch.testing.assert_close(half, (whole + guided(model, 5.0).raw(x, t, LABELS)) / 2)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="one interval"):
        guided(two(), 2.0, (0.1, 0.2), log_snr=(0.0, 1.0))
    with pytest.raises(ValueError, match="first end below its last"):
        guided(two(), 2.0, (0.2, 0.1))
    with pytest.raises(ValueError, match="weaker model of events"):
        autoguided(two(), models.gaussian(shape=(3,)), 2.0)
