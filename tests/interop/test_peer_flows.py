"""Flows of other libraries, layer by layer: the same density, latents and samples. They are no dependencies of ours."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from pushforward._errors import ConfigError
from pushforward.interop import adopt_flow
from pushforward.training import load, save_run
from pushforward.transforms import Inverse

pytestmark = pytest.mark.filterwarnings("ignore")

N = 5


def need(name):
    return pytest.importorskip(name, reason=f"{name} is not installed")


def stirred(module, scale=0.3):
    """The same module with weights far from their start, in float64."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        parameter.data.add_(scale * torch.randn_like(parameter))
    return module.double().eval()


def events(*shape, scale=1.0):
    """Some of them far out, where tails are straight."""
    return torch.randn(12, *shape, generator=torch.Generator().manual_seed(0)).double() * scale


ZUKO = {
    "maf": lambda z, f: f.MAF(N, transforms=3, hidden_features=(16, 16)),
    "maf, context": lambda z, f: f.MAF(N, 2, transforms=2, hidden_features=(16, 16)),
    "maf, any order": lambda z, f: f.MAF(N, transforms=3, hidden_features=(16,), randperm=True),
    "maf, residual": lambda z, f: f.MAF(N, transforms=2, hidden_features=(16, 16, 16), residual=True),
    "maf, graph": lambda z, f: f.MAF(
        3, transforms=2, hidden_features=(16,), adjacency=torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]]).bool()
    ),
    "nsf": lambda z, f: f.NSF(N, transforms=2, hidden_features=(16, 16), bins=6),
    "nsf, context": lambda z, f: f.NSF(N, 2, transforms=2, hidden_features=(16, 16)),
    "nsf, couplings": lambda z, f: f.NSF(N, transforms=3, passes=2, hidden_features=(16, 16)),
    "ncsf": lambda z, f: f.NCSF(N, transforms=2, hidden_features=(16, 16)),
    "nice": lambda z, f: f.NICE(N, transforms=3, hidden_features=(16, 16)),
    "real nvp, context": lambda z, f: f.RealNVP(N, 2, transforms=3, hidden_features=(16,), randmask=True),
    "additive": lambda z, f: f.NICE(N, univariate=z.transforms.AdditiveTransform, shapes=[()], hidden_features=(16,)),
    "elu, normalised": lambda z, f: f.NICE(N, hidden_features=(16,), activation=nn.ELU, normalize=True),
    "naf": lambda z, f: f.NAF(3, transforms=2, signal=4, hidden_features=(16,), network={"hidden_features": (16,)}),
    "bpf": lambda z, f: f.BPF(N, transforms=3, hidden_features=(16, 16)),
    "bpf, context": lambda z, f: f.BPF(N, 2, transforms=2, degree=5, hidden_features=(16, 16)),
    "bernstein, free ends": lambda z, f: f.MAF(
        N, transforms=2, univariate=z.transforms.BernsteinTransform, shapes=[(9,)], hidden_features=(16,)
    ),
    "bernstein, bound": lambda z, f: f.NICE(
        N, univariate=partial(z.transforms.BoundedBernsteinTransform, bound=2.0), shapes=[(9,)], hidden_features=(16,)
    ),
    "sospf": lambda z, f: f.SOSPF(N, transforms=3, hidden_features=(16, 16)),
    "sospf, context": lambda z, f: f.SOSPF(N, 2, transforms=2, degree=3, polynomials=2, slope=0.1),
    "gf": lambda z, f: f.GF(N, transforms=3),
    "gf, context": lambda z, f: f.GF(N, 2, transforms=2, components=4, hidden_features=(16, 16)),
    "unaf": lambda z, f: f.UNAF(N, transforms=2, hidden_features=(16,), network={"hidden_features": (16, 16)}),
    "unaf, context": lambda z, f: f.UNAF(
        3, 2, transforms=2, signal=4, randperm=True, hidden_features=(16,),
        network={"hidden_features": (16,), "activation": nn.Tanh, "normalize": True},
    ),
    "naf, one number": lambda z, f: f.NAF(1, transforms=2, signal=4),
    "unaf, one number": lambda z, f: f.UNAF(1, transforms=2, signal=4),
    "unaf, one number, context": lambda z, f: f.UNAF(1, 2, transforms=2, signal=4, hidden_features=(16,)),
    "one number": lambda z, f: f.MAF(1, transforms=2),
    "one number, context": lambda z, f: f.NSF(1, 2, transforms=2, hidden_features=(16,)),
    "mixture": lambda z, f: z.lazy.Flow(
        f.MAF(N, transforms=1, hidden_features=(16,)).transform, z.mixtures.GMM(N, 0, 3, "diagonal")
    ),
    "full mixture": lambda z, f: z.lazy.Flow(
        f.MAF(N, transforms=1, hidden_features=(16,)).transform, z.mixtures.GMM(N, 0, 3, "full")
    ),
    "matrices": lambda z, f: z.lazy.Flow(
        [
            z.lazy.UnconditionalTransform(z.transforms.PermutationTransform, torch.tensor([2, 0, 1]), buffer=True),
            z.lazy.UnconditionalTransform(z.transforms.RotationTransform, torch.randn(3, 3)),
            z.lazy.UnconditionalTransform(z.transforms.LULinearTransform, torch.randn(3, 3) + 2 * torch.eye(3)),
            f.MAF(3, transforms=1, hidden_features=(16,)).transform.transforms[0].inv,
        ],
        z.lazy.UnconditionalDistribution(z.distributions.DiagNormal, torch.zeros(3), torch.ones(3)),
    ),
}  # fmt: skip
BISECTED = ("naf", "unaf", "bpf", "bernstein", "sospf", "gf")
"""Their inverse is good to 1e-6 a layer."""


@pytest.mark.parametrize("name", ZUKO)
def test_flows_of_zuko(name):
    zuko = need("zuko")
    torch.manual_seed(0)
    theirs = stirred(ZUKO[name](zuko, zuko.flows), 0.1)
    ours, shape = adopt_flow(theirs), theirs.base().event_shape
    x = events(*shape, scale=1.0 if name in ("ncsf", "naf", "gf", "gf, context") else 3.0)
    c = events(2) if "context" in name else None
    flow = theirs(c)
    torch.testing.assert_close(ours.log_prob(x, c), flow.log_prob(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.encode(x, c), flow.transform(x), rtol=1e-10, atol=1e-10)
    z = flow.transform(x)
    decoded, near = ours.decode(z.detach(), c), 1e-8
    if name.startswith(BISECTED):
        torch.testing.assert_close(decoded, x, rtol=1e-7, atol=1e-7)
        near = 2e-5
    torch.testing.assert_close(decoded, flow.transform.inv(z), rtol=near, atol=near)


EXACT = {"atol": 1e-9, "rtol": 1e-9, "hidden_features": (16, 16), "activation": nn.Tanh}
FIELDS = {
    "cnf": lambda z, f: f.CNF(N, **EXACT),
    "cnf, elu": lambda z, f: f.CNF(2, **EXACT | {"activation": nn.ELU, "atol": 1e-8, "rtol": 1e-8}),
    "cnf, context": lambda z, f: f.CNF(3, 2, freqs=1, **EXACT),
    "one number": lambda z, f: f.CNF(1, **EXACT),
    "turned round, between others": lambda z, f: z.lazy.Flow(
        [f.NICE(N, transforms=1).transform.transforms[0], f.CNF(N, **EXACT).transform.inv], f.CNF(N).base
    ),
}  # fmt: skip


def field_of(name):
    """A flow along a field whose weights and waves are far from their start, and their field."""
    zuko = need("zuko")
    torch.manual_seed(0)
    theirs = stirred(FIELDS[name](zuko, zuko.flows))
    field = next(module for module in theirs.modules() if type(module).__name__ == "FFJTransform")
    field.times.copy_(torch.tensor([0.2, 0.9]))
    return theirs, field


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_zuko(name):
    """As far as both solve them; theirs allows the log-determinant a hundred times its tolerance."""
    theirs, _ = field_of(name)
    ours, shape = adopt_flow(theirs), theirs.base().event_shape
    x, c = events(*shape), events(2) if "context" in name else None
    flow = theirs(c)
    torch.testing.assert_close(ours.log_prob(x, c), flow.log_prob(x), rtol=1e-5, atol=1e-5)
    z = ours.encode(x, c)
    torch.testing.assert_close(z, flow.transform(x), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.decode(z.detach(), c), x, rtol=1e-6, atol=1e-6)


def test_a_field_trains_as_theirs():
    theirs, field = field_of("cnf")
    ours, x = adopt_flow(theirs.train()), events(N)
    theirs().log_prob(x).sum().backward()
    ours.log_prob(x).sum().backward()
    for mine, other in zip(ours.parameters(), field.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_a_field_keeps_its_tolerances_and_its_probe():
    """Of one number the probe of ours, a sign, is exact."""
    theirs, field = field_of("one number")
    x = events(1)
    wanted, field.exact, field.rtol = theirs().log_prob(x), False, 1e-8
    ours = adopt_flow(theirs)
    assert ours.chain[0].trace.columns(1) == 1
    assert (ours.chain[0].solver.rtol, ours.chain[0].solver.atol) == (1e-8, 1e-9)
    torch.testing.assert_close(ours.log_prob(x), wanted, rtol=1e-5, atol=1e-5)


def nflows_of(*layers, base=None, embedding=None):
    from nflows import distributions, flows, transforms

    return flows.Flow(transforms.CompositeTransform(list(layers)), base or distributions.StandardNormal([N]), embedding)


def residual(hidden=16, context=None):
    from nflows.nn.nets import ResidualNet

    return lambda ins, outs: ResidualNet(ins, outs, hidden, context_features=context, num_blocks=2)


def mask():
    return torch.tensor([1, 0, 1, 0, 1])


def nflows_cases():
    from nflows import distributions, flows
    from nflows import transforms as t

    rq = {"num_bins": 6, "tails": "linear", "tail_bound": 2.5}
    return {
        "maf": lambda: nflows_of(t.MaskedAffineAutoregressiveTransform(N, 16), t.ReversePermutation(N),
                                 t.MaskedAffineAutoregressiveTransform(N, 16, activation=torch.tanh)),
        "maf, context": lambda: nflows_of(t.MaskedAffineAutoregressiveTransform(N, 16, context_features=2)),
        "maf, plain blocks": lambda: nflows_of(
            t.MaskedAffineAutoregressiveTransform(N, 16, use_residual_blocks=False, random_mask=True)),
        "maf, norms": lambda: nflows_of(t.MaskedAffineAutoregressiveTransform(N, 16, use_batch_norm=True)),
        "their maf": lambda: flows.MaskedAutoregressiveFlow(N, 16, 2, 2, batch_norm_between_layers=True),
        "their real nvp": lambda: flows.SimpleRealNVP(N, 16, 3, 2),
        "their nice": lambda: flows.SimpleRealNVP(N, 16, 3, 2, use_volume_preserving=True),
        "splines": lambda: nflows_of(
            t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(N, 16, **rq), t.RandomPermutation(N)),
        "coupled splines": lambda: nflows_of(
            t.PiecewiseRationalQuadraticCouplingTransform(mask(), residual(), **rq),
            t.PiecewiseRationalQuadraticCouplingTransform(
                1 - mask(), residual(), apply_unconditional_transform=True, **rq)),
        "couplings, context": lambda: nflows_of(
            t.PiecewiseRationalQuadraticCouplingTransform(mask(), residual(context=2), **rq),
            t.AffineCouplingTransform(mask(), residual(context=2))),
        "matrices": lambda: nflows_of(
            t.LULinear(N, identity_init=False), t.QRLinear(N, 3), t.SVDLinear(N, 2), t.NaiveLinear(N),
            t.HouseholderSequence(N, 3)),
        "norms": lambda: nflows_of(
            t.BatchNorm(N), t.ActNorm(N), t.PointwiseAffineTransform(torch.randn(N), torch.rand(N) + 0.5),
            t.InverseTransform(t.ActNorm(N)), t.IdentityTransform()),
        "learned base": lambda: nflows_of(t.LULinear(N), base=distributions.DiagonalNormal([N])),
        "base of a context": lambda: nflows_of(
            t.LULinear(N), base=distributions.ConditionalDiagonalNormal([N], nn.Linear(2, 2 * N))),
        "embedding, context": lambda: nflows_of(
            t.MaskedAffineAutoregressiveTransform(N, 16, context_features=3), embedding=nn.Linear(2, 3)),
    }  # fmt: skip


NFLOWS = [
    "maf", "maf, context", "maf, plain blocks", "maf, norms", "their maf", "their real nvp", "their nice", "splines",
    "coupled splines", "couplings, context", "matrices", "norms", "learned base", "base of a context",
    "embedding, context",
]  # fmt: skip


@pytest.mark.parametrize("name", NFLOWS)
def test_flows_of_nflows(name):
    need("nflows")
    torch.manual_seed(0)
    theirs = nflows_cases()[name]()
    theirs = stirred(theirs)
    for module in theirs.modules():
        if "running_var" in dict(module.named_buffers(recurse=False)):
            module.running_var.fill_(1.7)
            module.running_mean.fill_(0.3)
    ours, x, c = adopt_flow(theirs), events(N, scale=2.0), events(2) if "context" in name else None
    torch.testing.assert_close(ours.log_prob(x, c), theirs.log_prob(x, c), rtol=1e-10, atol=1e-10)
    inner = theirs._embedding_net(c) if c is not None else None
    z, ladj = theirs._transform(x, inner)
    if name != "base of a context":  # whose own shift and scale are part of ours
        found = ours.encode_and_ladj(x, c)
        torch.testing.assert_close(found, (z, ladj), rtol=1e-10, atol=1e-10)
        decoded = ours.decode(z.detach(), c)
        torch.testing.assert_close(decoded, x, rtol=1e-8, atol=1e-8)


def normflows_cases():
    import normflows as nf

    f, nets = nf.flows, nf.nets
    half = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])

    def of(*layers, base=None, kind=nf.NormalizingFlow):
        return kind(base or nf.distributions.DiagGaussian(N), list(layers))

    def seen(layer):
        layer(torch.randn(64, *layer.s.shape[1:]))
        return layer

    return {
        "real nvp": lambda: of(
            f.AffineCouplingBlock(nets.MLP([3, 16, 4])), f.Permute(N, mode="swap"),
            f.AffineCouplingBlock(nets.MLP([3, 16, 4])), f.Permute(N, mode="shuffle"),
            f.AffineCouplingBlock(nets.MLP([3, 16, 4]), scale_map="sigmoid"),
            f.AffineCouplingBlock(nets.MLP([3, 16, 4]), scale_map="sigmoid_inv"),
            f.AffineCouplingBlock(nets.MLP([2, 16, 6]), split_mode="channel_inv"),
            f.AffineCouplingBlock(nets.MLP([3, 16, 2]), scale=False)),
        "masked": lambda: of(
            f.MaskedAffineFlow(half, nets.MLP([N, 16, N]), nets.MLP([N, 16, N])),
            f.MaskedAffineFlow(1 - half, nets.MLP([N, 16, N])), seen(f.ActNorm(N)), f.AffineConstFlow(N)),
        "checkerboard": lambda: of(
            f.AffineCouplingBlock(nets.MLP([2, 16, 4]), split_mode="checkerboard"),
            f.AffineCouplingBlock(nets.MLP([2, 16, 4]), split_mode="checkerboard_inv"),
            base=nf.distributions.DiagGaussian(4, trainable=False)),
        "maf": lambda: of(f.MaskedAffineAutoregressive(N, 16), f.MaskedAffineAutoregressive(N, 16)),
        "splines": lambda: of(
            f.AutoregressiveRationalQuadraticSpline(N, 2, 16), f.LULinearPermute(N, identity_init=False),
            f.AutoregressiveRationalQuadraticSpline(N, 1, 16, permute_mask=True)),
        "splines, context": lambda: of(
            f.AutoregressiveRationalQuadraticSpline(N, 2, 16, num_context_channels=2), f.LULinearPermute(N),
            f.CoupledRationalQuadraticSpline(N, 2, 16, num_context_channels=2), kind=nf.ConditionalNormalizingFlow),
        "coupled splines": lambda: of(
            f.CoupledRationalQuadraticSpline(N, 2, 16), f.LULinearPermute(N),
            f.CoupledRationalQuadraticSpline(N, 2, 16, reverse_mask=True)),
        "matrices": lambda: of(f.InvertibleAffine(N), f.InvertibleAffine(N, use_lu=False)),
        "mixture": lambda: of(f.InvertibleAffine(N), base=nf.distributions.GaussianMixture(3, N)),
        "glow": lambda: of(
            *(glow(f.GlowBlock(4, 8, **each)) for each in
              ({}, {"use_lu": False, "split_mode": "channel_inv"}, {"split_mode": "checkerboard", "scale_map": "exp"})),
            base=nf.distributions.DiagGaussian((4, 2, 2))),
    }  # fmt: skip


def glow(block):
    block(torch.randn(64, 4, 2, 2))  # its ActNorm starts from data
    return block


NORMFLOWS = [
    "real nvp", "masked", "checkerboard", "maf", "splines", "splines, context", "coupled splines", "matrices",
    "mixture", "glow",
]  # fmt: skip


@pytest.mark.parametrize("name", NORMFLOWS)
def test_flows_of_normflows(name):
    need("normflows")
    torch.manual_seed(0)
    theirs = stirred(normflows_cases()[name](), 0.1)
    ours = adopt_flow(theirs)
    x = events(*ours.shape, scale=2.0)
    c = (events(2),) if "context" in name else ()
    torch.testing.assert_close(ours.log_prob(x, *c), theirs.log_prob(x, *c), rtol=1e-10, atol=1e-10)
    z = theirs.inverse(x, *c).detach()
    torch.testing.assert_close(ours.encode(x, *c), z, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.decode(z, *c), theirs.forward(z, *c), rtol=1e-8, atol=1e-8)


def test_in_float32_and_as_a_copy():
    zuko = need("zuko")
    theirs = stirred(zuko.flows.NSF(N, transforms=2, hidden_features=(16, 16)), 0.1).float().train()
    ours, x = adopt_flow(theirs), events(N).float()
    torch.testing.assert_close(ours.log_prob(x), theirs().log_prob(x), rtol=1e-5, atol=1e-5)
    assert ours.training
    before = copy.deepcopy(theirs.state_dict())
    ours.log_prob(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ours.parameters())
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1.0)
    torch.testing.assert_close(theirs.state_dict(), before, rtol=0, atol=0)


def test_derivatives_are_theirs():
    """The gradient by a weight of the network, and of samples by the noise."""
    zuko = need("zuko")
    theirs = stirred(zuko.flows.MAF(3, transforms=2, hidden_features=(16,)), 0.1)
    ours, x = adopt_flow(theirs), events(3)
    theirs().log_prob(x).sum().backward()
    ours.log_prob(x).sum().backward()
    net = ours.chain[0].conditioner.net
    torch.testing.assert_close(net[0].weight.grad, theirs.transform.transforms[0].hyper[0].weight.grad)
    z = events(3).requires_grad_()
    mine = torch.autograd.grad(ours.decode(z).square().sum(), z)
    torch.testing.assert_close(mine, torch.autograd.grad(theirs().transform.inv(z).square().sum(), z))


def test_a_network_that_says_nothing_yet_keeps_its_order():
    """Zero weights at the start (`init_identity`) hide on what numbers depend; masks do not."""
    nf = need("normflows")
    theirs = nf.NormalizingFlow(
        nf.distributions.DiagGaussian(N), [nf.flows.AutoregressiveRationalQuadraticSpline(N, 1, 16)]
    )
    assert adopt_flow(theirs).chain[0].conditioner.sizes == (1,) * N


def test_walk_and_rounds_decode_alike():
    zuko = need("zuko")
    ours = adopt_flow(stirred(zuko.flows.NSF(N, transforms=1, randperm=True, hidden_features=(16,)), 0.1))
    layer, z = ours.chain[0], events(N)
    rounds, _ = layer.decode(z)
    layer.method = "walk"
    torch.testing.assert_close(layer.decode(z)[0], rounds, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_distribution_of_zuko_alone_is_a_base(covariance):
    theirs, x = need("zuko").flows.GMM(3, components=2, covariance_type=covariance), torch.randn(5, 3)
    torch.testing.assert_close(adopt_flow(theirs).log_prob(x), theirs().log_prob(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="of a context"):
        adopt_flow(need("zuko").flows.GMM(3, 2, components=2))


@pytest.mark.parametrize(("make", "named"), [
    (lambda: nn.Linear(2, 2), "Linear"),
    (lambda: need("zuko").lazy.Flow(
        need("zuko").lazy.UnconditionalTransform(need("zuko").transforms.CosTransform), need("zuko").flows.MAF(2).base),
     "'CosTransform' at transform"),
    (lambda: need("zuko").flows.MAF(2, univariate=need("zuko").transforms.SignedPowerTransform, shapes=[()]),
     "'SignedPowerTransform' at transform.0"),
    (lambda: need("normflows").NormalizingFlow(
        need("normflows").distributions.DiagGaussian(2),
        [need("normflows").flows.AffineConstFlow(2), need("normflows").flows.Planar((2,))]), "'Planar' at flows.1"),
    (lambda: need("normflows").NormalizingFlow(
        need("normflows").distributions.DiagGaussian(2), [need("normflows").flows.ActNorm(2)]), "has not. Let it see"),
])  # fmt: skip
def test_what_is_not_known_is_named(make, named):
    with pytest.raises(ConfigError, match=named):
        adopt_flow(make())


def test_nflows_layers_that_are_not_known_are_named():
    need("nflows")
    from nflows import transforms as t

    with pytest.raises(ConfigError, match=r"'LeakyReLU' at _transform\.1"):
        adopt_flow(nflows_of(t.LULinear(N), t.LeakyReLU()))


@pytest.mark.parametrize("name", ["nsf", "bpf", "sospf", "gf", "unaf", "cnf"])
def test_a_run_of_one_is_loaded_into_another(tmp_path, name):
    zuko = need("zuko")
    make = (ZUKO | FIELDS)[name]
    trained, x = adopt_flow(stirred(make(zuko, zuko.flows), 0.1)), events(N)
    save_run(trained, tmp_path / "run")
    torch.manual_seed(5)
    loaded = load(tmp_path / "run", adopt_flow(make(zuko, zuko.flows).double()))
    torch.testing.assert_close(loaded.log_prob(x), trained.log_prob(x), rtol=1e-10, atol=1e-10)


def test_autoregression_of_normflows_is_quick_the_other_way():
    nf = need("normflows")
    theirs = nf.NormalizingFlow(nf.distributions.DiagGaussian(N), [nf.flows.MaskedAffineAutoregressive(N, 16)])
    assert isinstance(adopt_flow(theirs).chain[0], Inverse)
