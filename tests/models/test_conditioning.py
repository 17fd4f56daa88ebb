"""One row of context is the row of all samples, in every call of every model; other mismatches are said."""

import pytest
import torch
from torch.testing import assert_close

from pushforward._errors import ShapeError
from pushforward.models import (
    ClassNormal,
    Diffusion,
    FlowMap,
    Interpolant,
    Model,
    Normal,
    NormalizingFlow,
    bnaf,
    circular,
    classifier_guided,
    ffjord,
    glow,
    guided,
    maf,
    nice,
    nsf,
    planar,
    real_nvp,
    residual_flow,
    ring,
    tarflow,
)
from pushforward.models.conditioning import Row, row_of
from pushforward.nets import MLP, two_times
from pushforward.solvers import RK4
from pushforward.transforms import Shift

SOLVER = RK4(steps=3)
VECTORS = {
    "nice": lambda: nice((2,), 2, 8, 1, context=2),
    "real_nvp": lambda: real_nvp((2,), 2, 8, context=2),
    "nsf": lambda: nsf((2,), 2, 8, context=2),
    "circular": lambda: circular((2,), 2, 8, context=2),
    "glow": lambda: glow((1, 2, 2), 1, 1, 8, context=2),
    "maf": lambda: maf((2,), 2, 8, context=2),
    "bnaf": lambda: bnaf((2,), 1, 4, context=2),
    "planar": lambda: planar((2,), 2, formula="decode", context=2),
    "residual": lambda: residual_flow((2,), 2, 8, 1, context=2),
    "tarflow": lambda: tarflow((2, 1), 2, 8, 1, 2, context=2),
    "ffjord": lambda: ffjord((2,), 8, 1, context=2, solver=SOLVER),
    "diffusion": lambda: Diffusion(MLP((2,), 8, 1, context=2), solver=SOLVER),
    "as-flow": lambda: Diffusion(MLP((2,), 8, 1, context=2), solver=SOLVER).as_flow(SOLVER),
    "flow-map": lambda: FlowMap(two_times(MLP((2,), 8, 1, context=2)), follow=SOLVER),
    "interpolant": lambda: Interpolant(
        MLP((2,), 8, 1, context=2), MLP((2,), 8, 1, context=2), Normal((2,)), solver=SOLVER
    ),
}
CLASSES = {
    "real_nvp": lambda: real_nvp((2,), 2, 8, classes=3),
    "nsf": lambda: nsf((2,), 2, 8, classes=3),
    "glow": lambda: glow((1, 2, 2), 1, 1, 8, classes=3),
    "maf": lambda: maf((2,), 2, 8, classes=3),
    "tarflow": lambda: tarflow((2, 1), 2, 8, 1, 2, classes=3),
    "base": lambda: NormalizingFlow(Shift((2,)), ClassNormal((2,), 3)),
    "diffusion": lambda: Diffusion(MLP((2,), 8, 1, classes=3), solver=SOLVER),
    "guided": lambda: guided(Diffusion(MLP((2,), 8, 1, classes=3), solver=SOLVER), 2.0),
    "oracle": lambda: ring(3),
}


def wild(model: Model) -> Model:
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


def calls_of(model: Model, x, context):
    """Everything a model says, given a context."""
    yield model.sample(len(x), context, seed=0)
    yield model.noise(len(x), seed=0, context=context)
    yield list(model.trajectory(len(x), context, seed=0))[-1].x
    yield from model.rsample_and_log_prob(len(x), context, seed=0)
    yield model.log_prob(x, context)
    yield model.encode(x, context)
    yield model.decode(x, context)
    yield from model.encode_and_ladj(x, context)
    yield from model.decode_and_ladj(x, context)
    yield from list(model.encode_steps(x, context))[-1]
    yield from list(model.decode_steps(x, context))[-1]


KINDS = [(make, torch.tensor([[0.5, -1.0]], dtype=torch.float64)) for make in VECTORS.values()]
KINDS += [(make, torch.tensor([1])) for make in CLASSES.values()]
IDS = [*VECTORS, *(f"{name}-classes" for name in CLASSES)]


@pytest.mark.parametrize(("make", "one"), KINDS, ids=IDS)
def test_one_row_is_the_row_of_all_samples(make, one):
    model = wild(make())
    x = 0.1 * torch.arange(3 * 2 * (2 if len(model.shape) == 3 else 1), dtype=torch.float64).reshape(3, *model.shape)
    many = one.expand(3, *one.shape[1:])
    other = (one + 1).expand(3, *one.shape[1:])
    ours, whole, third = (list(calls_of(model, x, context)) for context in (one, many, other))
    for each, wanted in zip(ours, whole, strict=True):
        assert_close(each, wanted, rtol=0, atol=0)
    assert not torch.equal(ours[0], third[0]), "the context is not heard"


@pytest.mark.parametrize(("make", "one"), KINDS, ids=IDS)
def test_other_numbers_of_rows_are_refused_everywhere(make, one):
    model = wild(make())
    x = torch.zeros(3, *model.shape, dtype=torch.float64)
    for context in (one.expand(2, *one.shape[1:]), one[0, 0] if one.ndim == 2 else one[0]):
        for call in (model.log_prob, model.encode, model.decode, model.encode_and_ladj, model.decode_and_ladj):
            with pytest.raises(ShapeError, match="for 3 samples"):
                call(x, context)
        for draw in (model.sample, model.rsample_and_log_prob):
            with pytest.raises(ShapeError, match=r"Expected a context \[3.*\] or \[1.*\] for 3 samples"):
                draw(3, context)
        with pytest.raises(ShapeError, match="for 3 samples"):
            list(model.encode_steps(x, context))


@pytest.mark.parametrize("make", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_class_that_does_not_exist_is_named(make, wrong):
    model = make().double()
    context = torch.tensor([0, wrong])
    for call in (lambda: model.sample(2, context), lambda: model.log_prob(model.sample(2).double(), context)):
        with pytest.raises(ShapeError, match=r"class indices \[batch\] from 0 to 2, or 3 for no class; got indices"):
            call()
    assert model.sample(2, torch.tensor([0, 3]), seed=0).isfinite().all()


@pytest.mark.parametrize("name", VECTORS)
def test_a_row_is_known_by_the_parts_of_a_model(name):
    assert row_of(VECTORS[name]()) == Row((2,), 0)
    if name in CLASSES:
        assert row_of(CLASSES[name]()) == Row((), 3)


def test_what_a_classifier_is_asked_is_not_what_the_model_counts():
    model = classifier_guided(ring(3), lambda x, t, context: -(x - context).square().sum(1))
    assert row_of(model) is None
    assert model.sample(4, torch.tensor([[7, 7]]), seed=0).shape == (4, 2)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_contexts_of_a_transformed_call_are_not_looked_at():
    flow = maf((2,), 1, 8, classes=3)
    each = torch.func.vmap(lambda x, c: flow.log_prob(x[None], c[None]))(torch.zeros(4, 2), torch.tensor([0, 1, 2, 3]))
    assert_close(each[:, 0], flow.log_prob(torch.zeros(4, 2), torch.tensor([0, 1, 2, 3])))
