"""Normalizing flows beside other libraries: a training step, log_prob and samples of the same architecture.

    python benchmarks/flows.py [--quick] [--rounds N] [--features N ...] [--kinds KIND ...]
    python benchmarks/flows.py --mnist FOLDER [--updates N]

NICE on 784 numbers (four additive couplings, five layers of 1000), MAF and both neural spline flows, autoregressive
(nsf) and of couplings (nsf-c), on 6, 43, 64 and 784, batches of 256 and 1024, here and in zuko, nflows and normflows
(whichever is installed). Splines here are compiled where numba is installed. The floor is a bare chain of the same
linear layers, dense, with ReLU between: its training step (forward, backward, Adam) for training steps and samples, its
forward pass for log_prob. Libraries take turns within each round, each with the better of two calls, since whoever
comes after another finds the caches full of its numbers; thread CPU time on one thread; median over rounds with
(fastest-slowest), then the ratio to the floor of the same rounds. What is freed stays with the process, as in training
by this library: pages given back and taken again cost everybody, the floor too, up to a fifth of a step, by chance.

What takes longer than `PATIENCE` is not repeated (marked 1x), and others' samples of 784 numbers are drawn for the
smaller batch alone. --quick is a smaller table, without them, in under a minute.

--mnist draws samples of trained flows: ours learn MNIST (from FOLDER) in logit space by N updates of 256.
The others run through all 784 numbers, whatever their weights are, so theirs are as they start.
"""

import argparse
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from flows_of.told import Told
from torch import Tensor, nn

from pushforward.data import open_data
from pushforward.models import Normal, NormalizingFlow
from pushforward.nets import Dense, MaskedDense
from pushforward.training.memory import kept_pages
from pushforward.transforms import (
    AdditiveCoupling,
    Affine,
    Autoregressive,
    Chain,
    Monotone,
    MonotoneCoupling,
    RationalQuadratic,
    Transform,
)

PATIENCE = 5.0
"""Seconds."""

BINS = 8

KINDS = ("nice", "maf", "nsf", "nsf-c")


@dataclass(frozen=True)
class Case:
    """An architecture: `kind` is nice, maf, nsf or nsf-c."""

    kind: str
    features: int
    transforms: int
    hidden: int
    layers: int

    @property
    def outputs(self) -> int:
        """Outputs of each network."""
        each = {"nice": 1, "maf": 2, "nsf": 3 * BINS - 1, "nsf-c": 3 * BINS - 1}[self.kind]
        return each * (self.features - self.features // 2 if self.coupled else self.features)

    @property
    def inputs(self) -> int:
        """Inputs of each network."""
        return self.features // 2 if self.coupled else self.features

    @property
    def coupled(self) -> bool:
        """Whether transforms are couplings, which keep the first half."""
        return self.kind in ("nice", "nsf-c")

    def net(self) -> nn.Sequential:
        """The network with dense layers."""
        sizes = [self.inputs, *[self.hidden] * self.layers, self.outputs]
        parts = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*parts[:-1])

    def __str__(self) -> str:
        return f"{self.kind} {self.features}, {self.transforms} x {self.layers} x {self.hidden}"


@dataclass(frozen=True)
class Flow:
    """A model of some library behind the two calls that matter."""

    module: nn.Module
    log_prob: Callable[[Tensor], Tensor]
    sample: Callable[[int], Tensor]


def floor(case: Case) -> Flow:
    """The linear layers and nothing else."""
    nets = nn.ModuleList(case.net() for _ in range(case.transforms))

    def log_prob(x: Tensor) -> Tensor:
        return sum(net(x[:, : case.inputs]).square().mean(1) for net in nets)

    return Flow(nets, log_prob, lambda n: torch.empty(n))


def pushforward(case: Case) -> Flow:
    """This library."""
    n, monotone = case.features, Affine() if case.kind == "maf" else RationalQuadratic(BINS)
    members: list[Transform] = []
    for k in range(case.transforms):
        if case.coupled:
            mask = (torch.arange(n) < n // 2) ^ bool(k % 2)
            kept, each = int(mask.sum()), case.outputs // (n - n // 2)
            net = Dense(kept, each * (n - kept), case.hidden, case.layers, zero_output=False)
            nice = case.kind == "nice"
            members += [AdditiveCoupling((n,), net, mask) if nice else MonotoneCoupling((n,), net, monotone, mask)]
        else:
            members.append(autoregressive(case, monotone, k))
    flow = NormalizingFlow(Chain(*members), Normal((n,)))
    return Flow(flow, flow.log_prob, flow.sample)


def autoregressive(case: Case, monotone: Monotone, k: int) -> Autoregressive:
    """One transform, orders alternating."""
    order = torch.arange(case.features).flip(0) if k % 2 else torch.arange(case.features)
    net = MaskedDense(case.features, monotone.size, case.hidden, case.layers, order=order, zero_output=False)
    return Autoregressive(monotone, net)


def zuko(case: Case) -> Flow:
    """zuko."""
    import zuko.flows as zf
    from zuko.distributions import DiagNormal
    from zuko.lazy import Flow as Lazy
    from zuko.lazy import UnconditionalDistribution
    from zuko.transforms import AdditiveTransform, MonotonicRQSTransform

    hidden, n = [case.hidden] * case.layers, case.features
    if case.kind == "maf":
        flow = zf.MAF(n, transforms=case.transforms, hidden_features=hidden)
    elif case.kind == "nsf":
        flow = zf.NSF(n, bins=BINS, transforms=case.transforms, hidden_features=hidden)
    else:
        masks = [(torch.arange(n) < n // 2) ^ bool(k % 2) for k in range(case.transforms)]
        nice, spline = (AdditiveTransform, [()]), (MonotonicRQSTransform, [(BINS,), (BINS,), (BINS - 1,)])
        univariate, shapes = nice if case.kind == "nice" else spline
        options = {"univariate": univariate, "shapes": shapes, "hidden_features": hidden}
        couplings = [zf.coupling.GeneralCouplingTransform(n, mask=mask, **options) for mask in masks]
        base = UnconditionalDistribution(DiagNormal, torch.zeros(n), torch.ones(n), buffer=True)
        flow = Lazy(couplings, base)
    return Flow(flow, lambda x: flow().log_prob(x), lambda k: flow().sample((k,)))


def nflows(case: Case) -> Flow:
    """nflows."""
    import nflows.transforms as nt
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow as Whole

    n, members = case.features, list[nn.Module]()
    options = {"features": n, "hidden_features": case.hidden, "num_blocks": case.layers - 1}
    ends = {"num_bins": BINS, "tails": "linear", "tail_bound": 3.0}
    for _ in range(case.transforms):
        if case.coupled:
            nice, spline = nt.AdditiveCouplingTransform, nt.PiecewiseRationalQuadraticCouplingTransform
            halves = (torch.arange(n) >= n // 2, lambda i, o: Told(case.net()))
            members += [nice(*halves) if case.kind == "nice" else spline(*halves, **ends)]
        elif case.kind == "maf":
            members += [nt.MaskedAffineAutoregressiveTransform(**options, use_residual_blocks=False)]
        else:
            spline = nt.MaskedPiecewiseRationalQuadraticAutoregressiveTransform
            members += [spline(**options, **ends, use_residual_blocks=False)]
        members += [nt.ReversePermutation(n)]
    flow = Whole(nt.CompositeTransform(members), StandardNormal([n]))
    return Flow(flow, flow.log_prob, flow.sample)


def normflows(case: Case) -> Flow:
    """normflows. Its autoregressive splines have residual networks only, of one block here: one hidden layer more."""
    import normflows as nf
    from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling

    n, members = case.features, list[nn.Module]()
    for _ in range(case.transforms):
        if case.kind == "nice":
            members += [nf.flows.AffineCouplingBlock(case.net(), scale=False), nf.flows.Permute(n, mode="swap")]
        elif case.kind == "maf":
            options = {"num_blocks": case.layers - 1, "use_residual_blocks": False}
            # its own direction is that of samples (IAF)
            members += [nf.flows.Reverse(nf.flows.MaskedAffineAutoregressive(n, case.hidden, **options))]
        elif case.kind == "nsf-c":
            layer = nf.flows.CoupledRationalQuadraticSpline(n, 1, case.hidden, num_bins=BINS)
            ends = {"num_bins": BINS, "tails": "linear", "tail_bound": 3.0}
            halves = (torch.arange(n) >= n // 2, lambda i, o: Told(case.net()))
            layer.prqct = PiecewiseRationalQuadraticCoupling(
                *halves, **ends
            )  # the same network, the other half as it is
            members += [layer, nf.flows.Permute(n, mode="swap")]
        else:
            members += [nf.flows.AutoregressiveRationalQuadraticSpline(n, 1, case.hidden, num_bins=BINS)]
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(n, trainable=False), members)
    return Flow(flow, flow.log_prob, lambda k: flow.sample(k)[0])


def images(folder: Path) -> Tensor:
    """MNIST [60000, 784] with uniform noise on its levels, logit(1e-6 + (1 - 2e-6) x), mean 0 and deviation 1 each."""
    x = open_data(folder).unlabelled().values.flatten(1)
    x = (x + torch.rand(x.shape, generator=torch.Generator().manual_seed(1))) / 256
    x = (1e-6 + (1 - 2e-6) * x).logit()
    return (x - x.mean(0)) / x.std(0)


def learn(flow: Flow, x: Tensor, updates: int, batch: int = 256) -> float:
    """Adam with a falling rate; the nats of the last 10,000 events, which it is not shown."""
    optimizer = torch.optim.Adam(flow.module.parameters(), 1e-3)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    rows = torch.randint(len(x) - 10_000, (updates, batch), generator=torch.Generator().manual_seed(2))
    for chosen in rows:
        optimizer.zero_grad()
        (-flow.log_prob(x[chosen]).mean()).backward()
        nn.utils.clip_grad_norm_(flow.module.parameters(), 10.0)
        optimizer.step()
        rates.step()
    with torch.no_grad():
        return statistics.mean(float(flow.log_prob(part).mean()) for part in x[-10_000:].split(500))


def operations(flow: Flow, batch: int, features: int) -> dict[str, Callable[[], object]]:
    """A training step, log_prob and samples, as calls."""
    x = torch.randn(batch, features, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(flow.module.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        optimizer.step()

    quiet = torch.no_grad()
    return {"train": step, "log_prob": quiet(lambda: flow.log_prob(x)), "sample": quiet(lambda: flow.sample(batch))}


def seconds(call: Callable[[], object]) -> float:
    """Thread CPU time of one call."""
    began = time.thread_time()
    call()
    return time.thread_time() - began


def measure(case: Case, batch: int, rounds: int, slow: bool) -> Iterator[tuple[str, str, list[float], list[float]]]:
    """(operation, library, seconds of each round, floor's seconds in the same rounds)."""
    libraries = [pushforward, *(lib for lib in (zuko, nflows, normflows) if importlib.util.find_spec(lib.__name__))]
    torch.manual_seed(0)
    calls = {lib.__name__: operations(lib(case), batch, case.features) for lib in (floor, *libraries)}
    samples = case.features < 100 or batch <= 256  # of weights as they start, some of more lie at 1e4
    for operation in ("train", "log_prob", *(["sample"] if samples else [])):
        base = "log_prob" if operation == "log_prob" else "train"
        todo = {lib.__name__: calls[lib.__name__][operation] for lib in libraries}
        if operation == "sample" and not slow:
            todo = {"pushforward": todo["pushforward"]}
        times: dict[str, list[float]] = {name: [] for name in ("floor", *todo)}
        calls["floor"][base]()
        calls["pushforward"][operation]()  # numba compiles at the first call of all
        patient = {
            name for name, call in todo.items() if (first := seconds(call)) < PATIENCE or times[name].append(first)
        }
        for _ in range(rounds):
            for name, call in (("floor", calls["floor"][base]), *todo.items()):
                if name == "floor" or name in patient:
                    times[name].append(min(seconds(call) for _ in range(2)))
        yield from ((operation, name, times[name], times["floor"]) for name in todo)


def trained(folder: Path, updates: int, batch: int = 64) -> None:
    """Print samples of flows that have learned MNIST, beside others' as they start."""
    torch.set_num_threads(1)
    x = images(folder)
    others = [lib for lib in (zuko, nflows, normflows) if importlib.util.find_spec(lib.__name__)]
    for case in (Case("maf", 784, 5, 1024, 1), Case("nsf", 784, 2, 512, 1)):
        torch.manual_seed(0)
        flow = pushforward(case)
        nats = [learn(flow, x, updates)]
        with torch.no_grad():
            nats += [float(flow.log_prob(x[:10_000]).mean()), float(flow.log_prob(flow.sample(batch)).mean())]
        print(f"{case}: held out {nats[0]:.1f}, seen {nats[1]:.1f}, its own samples {nats[2]:.1f} nats", flush=True)
        ours = operations(flow, batch, case.features)["sample"]
        times = sorted(seconds(ours) for _ in range(5))
        print(f"  pushforward {times[2]:8.2f} s ({times[0]:.2f}-{times[-1]:.2f})", flush=True)
        for lib in others:
            once = seconds(operations(lib(case), batch, case.features)["sample"])
            print(f"  {lib.__name__:11} {once:8.1f} s (1x), {once / times[2]:.1f} times ours", flush=True)


def main(quick: bool, rounds: int, features: list[int], kinds: list[str], samples: bool) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    if quick:
        cases = [
            Case("maf", 6, 5, 128, 2),
            Case("maf", 64, 5, 128, 2),
            Case("nsf", 6, 2, 128, 2),
            Case("nsf-c", 6, 2, 128, 2),
            Case("maf", 784, 1, 512, 1),
        ]
    else:
        small = [Case(kind, n, 5, 256, 2) for kind in ("maf", "nsf", "nsf-c") for n in (6, 43, 64)]
        large = [Case("maf", 784, 5, 1024, 1), Case("nsf", 784, 2, 512, 1), Case("nsf-c", 784, 4, 512, 1)]
        cases = [Case("nice", 784, 4, 1000, 5), *small, *large]
    cases = [case for case in cases if case.kind in kinds and (not features or case.features in features)]
    print(f"torch {torch.__version__}, 1 thread, {rounds} interleaved rounds; milliseconds, median (fastest-slowest)")
    print(f"{'':32}{'':8}{'':10}{'':13}{'time':>28}{'/ floor':>10}{'/ ours':>8}")
    for case, batch in itertools.product(cases, (256,) if quick else (256, 1024)):
        ours = 0.0
        for operation, name, times, base in measure(
            case, batch, rounds, slow=samples and (case.features < 100 or not (quick or batch > 256))
        ):
            middle = statistics.median(times)
            ours = middle if name == "pushforward" else ours
            spread = f"{1e3 * middle:.2f} ({1e3 * min(times):.2f}-{1e3 * max(times):.2f})"
            spread = spread if len(times) > 1 else f"{1e3 * middle:.0f} (1x)"
            ratio = middle / statistics.median(base)
            print(
                f"{case!s:32}{batch:<8}{operation:10}{name:13}{spread:>28}{ratio:>10.2f}{middle / ours:>8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller table, in under a minute")
    parser.add_argument("--rounds", type=int, default=0, help="0: 5 if quick, else 11")
    parser.add_argument("--features", type=int, nargs="*", default=[], help="these sizes of events alone")
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS, help="these kinds alone")
    parser.add_argument("--no-samples", action="store_true", help="draw no samples with other libraries")
    parser.add_argument("--mnist", type=Path, help="the folder with MNIST: samples of trained flows, and nothing else")
    parser.add_argument("--updates", type=int, default=1000, help="with --mnist")
    options = parser.parse_args()
    rounds = options.rounds or (5 if options.quick else 11)
    with kept_pages():
        if options.mnist:
            trained(options.mnist, options.updates)
        else:
            main(options.quick, rounds, options.features, options.kinds, not options.no_samples)
