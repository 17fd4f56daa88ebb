import gc
import io
import pickle
import threading
import weakref

import pytest
import torch
from torch.testing import assert_close

from pushforward._errors import ConfigError, ShapeError
from pushforward.transforms import LU, QR, Householder, Matrix, Rotation, Triangular, convolution


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


KINDS = {
    "triangular": lambda n: Triangular(n),
    "lu": lambda n: LU(n, seed=3),
    "rotation": Rotation,
    "householder": Householder,
    "qr": QR,
}
every = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def moved(make, n: int = 4) -> Matrix:
    generator, made = torch.Generator().manual_seed(1), make(n).double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return made


@every
def test_the_derivatives_by_the_weights_are_those_of_finite_differences(make):
    layer = moved(make, 3)
    names = [name for name, _ in layer.named_parameters()]

    def call(*weights):
        values = dict(zip(names, weights))
        z, ladj = torch.func.functional_call(_Both(layer), {f"layer.{k}": v for k, v in values.items()}, (X[:2, :3],))
        return z, ladj

    assert torch.autograd.gradcheck(call, tuple(p.detach().clone().requires_grad_() for p in layer.parameters()))


class _Both(torch.nn.Module):
    def __init__(self, layer: Matrix):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        z, ladj = self.layer.encode(x)
        return torch.cat([z, self.layer.decode(x)[0]], 1), ladj


@every
def test_zero_weights_are_the_identity(make):
    layer = LU(4) if make is KINDS["lu"] else make(4)
    assert_close(layer.weight(), torch.eye(4))


def test_rotations_and_reflections_keep_lengths():
    for make in (Rotation, Householder):
        z, ladj = moved(make).encode(X)
        assert_close(z.norm(dim=1), X.norm(dim=1))
        assert torch.equal(ladj, torch.zeros_like(ladj))


def test_a_convolution_starts_at_a_rotation_the_same_everywhere():
    a, b = convolution(8, seed=5), convolution(8, seed=5)
    assert torch.equal(a.weight(), b.weight())
    assert_close(a.weight() @ a.weight().T, torch.eye(8), rtol=0, atol=1e-5)
    assert a.log_det().abs() < 1e-5
    assert not torch.allclose(a.weight(), convolution(8, seed=6).weight())


def test_a_convolution_is_one():
    layer, x = moved(KINDS["lu"]), torch.randn(2, 4, 3, 5, dtype=torch.float64)
    z, ladj = layer.encode(x)
    assert_close(z, torch.nn.functional.conv2d(x, layer.weight()[:, :, None, None]))
    assert_close(ladj, (15 * layer.log_det()).expand(2))


@every
def test_what_is_kept_is_what_would_be_computed(make):
    layer = moved(make)
    expected = layer.decode(X)
    with torch.no_grad():
        layer.eval().encode(X)
        assert layer._kept is not None
        assert_close(layer.decode(X), tuple(v.detach() for v in expected))


def change_by_optimizer(layer):
    torch.optim.SGD(layer.parameters(), lr=0.5).step()


def change_in_place(layer):
    for weight in layer.parameters():
        weight.mul_(1.5)


def change_behind_the_version_counter(layer):
    for weight in layer.parameters():
        weight.data.mul_(1.5)


def change_by_loading(layer):
    file = io.BytesIO()
    torch.save({k: v * 2 if v.is_floating_point() else v for k, v in layer.state_dict().items()}, file)
    file.seek(0)
    layer.load_state_dict(torch.load(file, weights_only=True))


def change_the_precision(layer):
    layer.to(torch.bfloat16).double()


@every
@pytest.mark.parametrize(
    "change",
    [change_by_optimizer, change_in_place, change_behind_the_version_counter, change_by_loading, change_the_precision],
)
def test_no_change_of_weights_leaves_a_stale_inverse(make, change):
    layer = moved(make).eval()
    (layer.encode(X)[0] * X.flip(0)).sum().backward()
    with torch.no_grad():
        before = layer.decode(X)[0]
        change(layer)
        after = layer.decode(X)[0]
    assert_close(after, X @ layer.inverse().detach().T)
    assert (after - before).abs().max() > 1e-4


def test_an_order_that_was_loaded_is_seen():
    a, b = LU(4, seed=0).eval(), LU(4, seed=1).eval()
    b.load_state_dict({**a.state_dict(), "order": b.order})
    with torch.no_grad():
        a.encode(X.float())
        a.load_state_dict(b.state_dict())
        assert torch.equal(a.decode(X.float())[0], b.decode(X.float())[0])


def test_training_steps_between_evaluations_are_seen():
    """A step taken in eval mode, where a mode flag alone would not notice."""
    layer, z = moved(KINDS["lu"]).eval(), None
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(3):
        with torch.no_grad():
            z, _ = layer.encode(X)
            assert_close(layer.decode(z)[0], X)
        optimizer.zero_grad()
        layer.encode(X)[0].square().sum().backward()
        optimizer.step()


def test_derivatives_are_not_lost_to_what_is_kept():
    layer = moved(KINDS["lu"]).eval()
    with torch.no_grad():
        layer.encode(X)
    layer.decode(X)[0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    x = X.clone().requires_grad_()
    layer.requires_grad_(False)
    with torch.inference_mode():
        layer.encode(X)
    layer.encode(x)[0].sum().backward()
    assert_close(x.grad, layer.weight().sum(0).expand(6, 4))


def test_torch_func_leaves_nothing_behind():
    """An ensemble by vmap over weights, and derivatives by inputs, of a layer that keeps its inverse."""
    layers = [LU(4, seed=i).double().eval() for i in range(3)]
    weights, buffers = torch.func.stack_module_state(layers)

    def decode(weights, buffers):
        state = {f"layer.{name}": value for name, value in {**weights, **buffers}.items()}
        return torch.func.functional_call(_Decode(layers[0]), state, (X,))

    with torch.no_grad():
        each = torch.vmap(decode)(weights, buffers)
        assert_close(each, torch.stack([layer.decode(X)[0] for layer in layers]))
        assert_close(torch.vmap(lambda x: layers[0].decode(x[None])[0][0])(X), each[0])
    layers[0].requires_grad_(False)
    jacobian = torch.func.jacrev(lambda x: layers[0].decode(x[None])[0][0])(X[0])
    assert_close(jacobian, layers[0].inverse())
    assert_close(layers[0].decode(X)[0], each[0])


class _Decode(torch.nn.Module):
    def __init__(self, layer: Matrix):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer.decode(x)[0]


def test_what_is_kept_is_in_no_file_and_dies_with_the_layer():
    gc.disable()
    try:
        layer = moved(KINDS["lu"]).eval()
        with torch.no_grad():
            layer.encode(X)
        assert pickle.loads(pickle.dumps(layer))._kept is None
        assert set(layer.state_dict()) == {"order", "signs", "lower", "upper", "log_diagonal"}
        watched = weakref.ref(layer._kept.inverse)
        del layer
        assert watched() is None
    finally:
        gc.enable()


def test_threads_share_a_layer_while_its_weights_change():
    """Every answer belongs to one of the two sets of weights, never to a mixture."""
    layer = moved(Rotation).eval().requires_grad_(False)
    first = layer.angles.clone()
    answers, wanted = [], []
    for angles in (first, 2 * first):
        layer.angles.copy_(angles)
        wanted.append(layer.decode(X)[0])
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            answers.append(layer.decode(X)[0])

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(40):
        layer.angles = torch.nn.Parameter((first, 2 * first)[i % 2].clone(), requires_grad=False)
    stop.set()
    for thread in threads:
        thread.join()
    for answer in answers:
        assert min((answer - each).abs().max() for each in wanted) < 1e-9


def test_impossible_matrices_are_refused():
    with pytest.raises(ConfigError, match="1 or more"):
        LU(0)
    with pytest.raises(ConfigError, match="1 to 3 reflections"):
        Householder(3, 4)
    with pytest.raises(ShapeError, match="leading axis 3"):
        LU(3).encode(torch.zeros(2, 4))
