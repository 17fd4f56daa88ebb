"""Formulas that are one node of the graph say what their plain operations say, derivatives of all kinds included."""

import pytest
import torch
from torch.testing import assert_close

from pushforward.nets.layers import Layers
from pushforward.nets.products import Products
from pushforward.transforms import GaussianMixture, RationalQuadratic
from pushforward.transforms.bernstein import _Averages
from pushforward.transforms.coupled import CoupledSpline
from pushforward.transforms.monotone import _Affine
from pushforward.transforms.normal_mixture import _Mixed


def spline(tails, inverse):
    made = RationalQuadratic(5, -2.0, 3.0, tails=tails)
    draw = torch.Generator().manual_seed(0)
    x = 2.5 * torch.randn(7, 3, generator=draw, dtype=torch.float64)  # some beyond the knots
    size = made.size - (tails == "circular")  # without the phase
    return made.spline(inverse), (x, torch.randn(7, 3, size, generator=draw, dtype=torch.float64))


class At:
    """A formula of numbers at certain places."""

    def __init__(self, formula, *places):
        self.formula, self.places = formula, torch.tensor(places)

    def __call__(self, *inputs):
        return self.formula(*inputs, self.places)

    def plain(self, *inputs):
        return self.formula.plain(*inputs, self.places)


def coupled(inverse):
    made, draw = RationalQuadratic(5, -2.0, 3.0), torch.Generator().manual_seed(6)
    x = 2.5 * torch.randn(7, 5, generator=draw, dtype=torch.float64)
    params = torch.randn(7, 3, made.size, generator=draw, dtype=torch.float64)
    return At(CoupledSpline(made.spline(inverse)), 3, 0, 4), (x, params)


def affine():
    draw = torch.Generator().manual_seed(1)
    return _Affine(2.0), tuple(torch.randn(7, *s, generator=draw, dtype=torch.float64) for s in ((3,), (3, 2)))


def bernstein(degree):
    draw = torch.Generator().manual_seed(3)
    x = 2 * torch.randn(7, 3, generator=draw, dtype=torch.float64)  # some beyond the ends
    return _Averages(degree, 2.0), (x, torch.randn(7, 3, 1 + degree, generator=draw, dtype=torch.float64))


def mixture(shared):
    made, draw = GaussianMixture(3), torch.Generator().manual_seed(4)
    x = 6 * torch.randn(7, 3, generator=draw, dtype=torch.float64)  # some far out on both sides
    params = torch.randn(*(() if shared else (7,)), 3, made.size, generator=draw, dtype=torch.float64)
    return _Mixed(made.centres(x), made._encode), (x, params)


def products(told):
    layers = (((2, 1), (3, 3)), ((4, 2), (1, 5)), ((2, 4), (2, 5)))
    entries = sum(rows * columns for blocks in layers for rows, columns in blocks)
    shapes = [(3, 7), (1, entries), (1, entries), (14,), *([(10, 7)] if told else [])]
    draw = torch.Generator().manual_seed(2)
    x, weight, mask, *others = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in shapes)
    return Products(layers), (x, weight, mask.gt(-0.5).double(), *others)


def layers():
    draw = torch.Generator().manual_seed(5)
    shapes = [(7, 3), (4, 3), (4,), (5, 4), (5,), (6, 5), (6,)]
    return Layers(), tuple(torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in shapes)


FORMULAS = {
    f"spline, {tails}{', back' if inverse else ''}": lambda tails=tails, inverse=inverse: spline(tails, inverse)
    for tails in ("identity", "linear", "circular")
    for inverse in (False, True)
} | {
    "bernstein": lambda: bernstein(5),
    "bernstein, straight": lambda: bernstein(1),
    "bernstein, bent": lambda: bernstein(2),
}
FORMULAS |= {
    "mixture": lambda: mixture(False),
    "affine": affine,
    "coupled spline": lambda: coupled(False),
    "coupled spline, back": lambda: coupled(True),
    "layers": layers,
    "products": lambda: products(False),
    "products with a context": lambda: products(True),
}
LAYOUTS = {
    "as they come": lambda each: each.clone(),
    "along the batch": lambda each: each.movedim(0, -1).contiguous().movedim(-1, 0),
}
MASK = 2


def leaves(formula, inputs, layout="as they come"):
    fixed = {MASK} if isinstance(formula, Products) else set()
    return [LAYOUTS[layout](each).requires_grad_(i not in fixed) for i, each in enumerate(inputs)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FORMULAS)
def test_values_and_gradients_are_those_of_the_plain_formula(name, layout):
    formula, inputs = FORMULAS[name]()
    found = []
    for say in (formula, formula.plain):
        given = leaves(formula, inputs, layout)
        results = say(*given)
        weights = [torch.linspace(-1, 2, each.numel(), dtype=each.dtype).view(each.shape) for each in results]
        sum((each * weight).sum() for each, weight in zip(results, weights, strict=True)).backward()
        found.append(([*map(torch.Tensor.detach, results)], [each.grad for each in given if each.requires_grad]))
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-11)
    with torch.no_grad():
        assert_close([*formula(*leaves(formula, inputs, layout))], found[0][0], rtol=0, atol=0)


@pytest.mark.parametrize("name", FORMULAS)
def test_one_result_alone_has_its_gradient(name):
    """The other's is then zero, or nothing."""
    formula, inputs = FORMULAS[name]()
    for i in range(len(formula(*inputs))):
        first, second = (
            torch.autograd.grad(
                say(*given)[i].sum(),
                [each for each in given if each.requires_grad],
                allow_unused=True,
                materialize_grads=True,
            )
            for say, given in ((formula, leaves(formula, inputs)), (formula.plain, leaves(formula, inputs)))
        )
        assert_close(first, second, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", FORMULAS)
def test_second_derivatives(name):
    formula, inputs = FORMULAS[name]()
    assert torch.autograd.gradgradcheck(lambda *given: formula(*given), leaves(formula, inputs), fast_mode=True)


@pytest.mark.parametrize("name", FORMULAS)
def test_inputs_may_be_functions_of_each_other(name):
    """As parameters are of the numbers they move: nothing is counted twice when a graph is kept."""
    formula, inputs = FORMULAS[name]()
    (x, second, *others), found = inputs, []
    for say in (formula, formula.plain):
        leaf = x.clone().requires_grad_()
        total = sum(each.square().sum() for each in say(leaf, second * leaf.sum().cos(), *others))
        (first,) = torch.autograd.grad(total, leaf, create_graph=True)
        found.append((first, *torch.autograd.grad(first.square().sum(), leaf)))
    assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in FORMULAS if name != "mixture"])  # whose tails have no forward mode
def test_forward_mode(name):
    formula, inputs = FORMULAS[name]()
    along = tuple(torch.ones_like(each) for each in inputs)
    assert_close(
        torch.func.jvp(lambda *given: formula(*given), inputs, along)[1],
        torch.func.jvp(formula.plain, inputs, along)[1],
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", FORMULAS)
def test_batches_of_functions(name):
    formula, inputs = FORMULAS[name]()
    twice = tuple(torch.stack([each, each]) for each in inputs)
    for first, second in zip(torch.func.vmap(formula)(*twice), formula(*inputs), strict=True):
        assert_close(first, torch.stack([second, second]), rtol=1e-12, atol=1e-12)


def test_inputs_are_left_as_they_were():
    for make in FORMULAS.values():
        formula, inputs = make()
        before = [each.clone() for each in inputs]
        given = leaves(formula, inputs)
        sum(each.sum() for each in formula(*given)).backward()
        with torch.no_grad():
            formula(*inputs)
        assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(before, inputs, given, strict=True))
