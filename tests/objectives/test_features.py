"""Errors in other features: what they are on known differences, whose gradients they have, and what they teach."""

import threading
from dataclasses import replace

import pytest
import torch

from gaussian import ExactMap, gaussian_model
from pushforward import PushforwardError, data, nets, paths
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion, FlowMap
from pushforward.objectives import Composition, Distillation, FlowMapMatching, Hidden, Pairs, Scales, Stops
from pushforward.training import train


def diffusion(shape=(1, 8, 8), **options):
    torch.manual_seed(0)
    net = nets.MLP(shape, hidden=16, layers=2) if len(shape) == 1 else nets.Transformer(shape, width=16, layers=2)
    for parameter in net.parameters():  # as if it were trained: blocks start as the identity
        torch.nn.init.normal_(parameter, std=0.3)
    return Diffusion(net.double(), paths.Linear(), **options)


def two(shape=(1, 8, 8), n=3):
    draw = Draw(3)
    return tuple(draw.of(name).normal(n, shape, torch.float64) for name in ("made", "wanted"))


ALL = {
    "scales": lambda: Scales(),
    "hidden": lambda: Hidden(diffusion()),
    "hidden, no pixels": lambda: Hidden(diffusion(), pixels=0.0),
    "hidden, on another path": lambda: Hidden(replaced(diffusion(), paths.VP()), ("blocks.1.attention",)),
}


def replaced(model, path):
    return Diffusion(model.net, path, paths.velocity)


@pytest.mark.parametrize("name", ALL)
def test_an_error_is_nothing_where_nothing_is_wrong_and_has_the_gradient_of_its_values(name):
    features, (made, wanted), draw = ALL[name](), two(), Draw(1)
    assert features(wanted, wanted, None, draw).abs().max() == 0
    made.requires_grad_()
    error = features(made, wanted, None, draw)
    assert error.shape == (3,)
    assert error.min() > 0.01
    error.sum().backward()
    along = Draw(5).normal(3, (1, 8, 8), torch.float64)
    with torch.no_grad():
        up, down = (features(made + h * along, wanted, None, draw).sum() for h in (1e-5, -1e-5))
    assert (made.grad * along).sum().item() == pytest.approx((up - down).item() / 2e-5, rel=1e-6)
    assert (error - features(made.detach(), wanted, None, draw)).abs().max() == 0


def test_the_model_that_looks_learns_nothing():
    features, (made, wanted) = Hidden(diffusion()), two()
    features(made.requires_grad_(), wanted.requires_grad_(), None, Draw(1)).sum().backward()
    assert wanted.grad is None
    assert all(parameter.grad is None for parameter in features.model.parameters())
    assert not any(block._forward_hooks for block in features.model.net.blocks)


def test_scales_count_what_is_wrong_everywhere_and_forgive_what_evens_out():
    plain = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    checks = ((rows + columns) % 2 * 2.0 - 1).double()[None, None]
    assert Scales()(plain + 1, plain, None, Draw(0)).item() == (1 + 4 + 16 + 64) / 4
    assert Scales()(checks, plain, None, Draw(0)).item() == 1 / 4
    line = torch.zeros(1, 4, 3, dtype=torch.float64)
    assert Scales()(line + 1, line, None, Draw(0)).item() == (1 + 2 + 4) / 3
    assert Scales(most=1)(plain + 1, plain, None, Draw(0)).item() == (1 + 4) / 2


def test_scales_are_least_at_the_mean():
    _, wanted = two(n=50)
    made = wanted.mean(0, keepdim=True).expand(50, -1, -1, -1).clone().requires_grad_()
    Scales()(made, wanted, None, Draw(0)).sum().backward()
    assert made.grad.sum(0).abs().max() < 1e-12


TEACHER = gaussian_model(paths.Linear(), paths.velocity, 0.3, 0.5, (1,))
MAP = FlowMap(ExactMap(0.3, 0.5))


def test_the_exact_map_is_where_a_teacher_and_its_states_lead():
    """Whatever jump is trained, at the exact map the gradient is nothing, and elsewhere it is not."""
    objective = FlowMapMatching(Composition(1.0, "teacher"), teacher=MAP, features=Hidden(diffusion((1,))))

    def slope(offsets):
        net = ExactMap(0.3, 0.5)
        with torch.no_grad():
            net.offsets.copy_(torch.tensor(offsets))
        batch = Batch(torch.linspace(-1, 1, 16, dtype=torch.float64)[:, None])
        objective(FlowMap(net), batch, Draw(0)).mean().backward()
        return net.offsets.grad.abs().max()

    assert slope((0.0, 0.0, 0.0)) < 1e-9
    assert slope((0.2, -0.3, 0.1)) > 1e-3


@pytest.mark.parametrize("loss", ["square", "huber"])
def test_one_call_is_learned_through_the_teachers_eyes(loss):
    """On pairs of a Gaussian's ODE, x0 = 0.3 + 0.5 eps; without pixels there is nothing else to learn from."""
    eyes = diffusion((1,)).float()
    eps = torch.randn(512, 1, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    student = Diffusion(nets.MLP((1,), hidden=32, layers=2), paths.Linear(), paths.velocity)
    objective = Distillation(loss=loss, features=Hidden(eyes, pixels=0.0))
    before = (student.denoiser(eps, torch.ones(512)) - 0.3 - 0.5 * eps).square().mean()
    train(student, Pairs(0.3 + 0.5 * eps, eps), objective, steps=400, batch=128, lr=3e-3, progress=False, threads=1)
    after = (student.denoiser(eps, torch.ones(512)) - 0.3 - 0.5 * eps).square().mean()
    assert before > 0.2
    assert after < 1e-3


def test_pairs_of_images_are_learned_in_features_too():
    """One update of a flow map changes it, and differently for each way to look."""
    model, digits = diffusion().float(), data.digits().unlabelled()
    x = digits.train_batch(Draw(0), 8).x
    batch = Batch(x, eps=Draw(1).normal(8, (1, 8, 8)))
    found = []
    for features in (None, Scales(), Hidden(model)):
        objective = FlowMapMatching(Composition(1.0, "line"), Stops(1), power=0.5, features=features)
        student = FlowMap.of(model)
        objective(student, batch, Draw(2)).mean().backward()
        found.append(student.net.leave.weight.grad.clone())
    assert all(each.abs().max() > 0 and each.isfinite().all() for each in found)
    angles = [torch.cosine_similarity(found[i].flatten(), found[j].flatten(), 0) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert max(angles) < 0.9999


def test_threads_do_not_see_each_others_states():
    features, (made, wanted) = Hidden(diffusion()), two(n=16)
    alone = [features(made, wanted, None, Draw(seed)) for seed in range(8)]
    found = [None] * 8

    def look(seed):
        for _ in range(10):
            found[seed] = features(made, wanted, None, Draw(seed))

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(alone, found, strict=True))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Hidden(diffusion(), ("blocks.7",)), "blocks.7"),
        (lambda: Hidden(TEACHER), "without `blocks`"),
        (lambda: Hidden(diffusion(), ends=(0.5, 0.2)), "ends within"),
        (lambda: Hidden(diffusion(), pixels=-1.0), "pixels of 0 or more"),
        (lambda: Scales()(torch.zeros(2, 3), torch.zeros(2, 3), None, Draw(0)), "images"),
    ],
)
def test_errors_say_what_would_do(wrong, says):
    with pytest.raises(PushforwardError, match=says):
        wrong()


def test_a_run_says_in_which_features_it_learned():
    assert replace(Distillation(), features=Scales()) == Distillation(features=Scales())
    said = repr(Distillation(features=Hidden(diffusion(), pixels=0.5)))
    assert "features=Hidden(layers=(), pixels=0.5" in said
    assert "Transformer" not in said
