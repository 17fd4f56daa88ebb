"""How far log-likelihoods are from the truth, and what they cost: ours beside three other ways, on exact fields.

    python benchmarks/likelihood.py

Two kinds of data whose every density is known, float64, 16 events each:

    gaussian   16 numbers, N(0, Q D Q^T) with no axis of Q near a coordinate, on the straight path, as velocity
    mixture    .3 N(-.9, .15**2) + .7 N(.5, .3**2), on the 1000 steps of DDPM's chain, as eps

A line is the largest error in nats, for random divergences also the root mean square of it beside the standard error
that the method itself reports, and calls of the field. flow_matching is called where it is installed. Two ways are
written here from their descriptions, on torchdiffeq where it is installed: fresh probes in every call of an adaptive
solver (SiT), and one fixed probe in the clock of sigma (k-diffusion).
"""

import importlib.util
import math
from collections.abc import Callable

import torch
from torch import Tensor

import pushforward as pf
from pushforward.models import Likelihood, likelihood
from pushforward.solvers import RK4, Adaptive, Exact, Hutchinson, HutchPlus, Solver, Trace

Field = Callable[[Tensor, Tensor], Tensor]
TORCHDIFFEQ = importlib.util.find_spec("torchdiffeq") is not None
FLOW_MATCHING = importlib.util.find_spec("flow_matching") is not None
MEANS, STDS, WEIGHTS = torch.tensor([-0.9, 0.5]), torch.tensor([0.15, 0.3]), torch.tensor([0.3, 0.7])


class Gaussian:
    """The velocity of the straight path for N(0, Q D Q^T), and its density; counts its calls."""

    def __init__(self, size: int = 16) -> None:
        g = torch.Generator().manual_seed(0)
        self.axes = torch.linalg.qr(torch.randn(size, size, generator=g)).Q
        self.variances = torch.exp(-3 * torch.rand(size, generator=g))
        self.x = torch.randn(16, size, generator=g) * self.variances.sqrt() @ self.axes.T
        self.calls = 0

    def __call__(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        self.calls += 1
        t = t.reshape(-1, 1)
        gain = (t - (1 - t) * self.variances) / ((1 - t) ** 2 * self.variances + t**2)
        return (x @ self.axes * gain) @ self.axes.T

    def denoised(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x0 + sigma eps = x]."""
        self.calls += 1
        return (x @ self.axes * (self.variances / (self.variances + sigma**2))) @ self.axes.T

    def log_prob(self, sigma: float = 0.0) -> Tensor:
        """Of the events, blurred by noise of size sigma."""
        std = (self.variances + sigma**2).sqrt()
        return torch.distributions.Normal(0.0, std).log_prob(self.x @ self.axes).sum(1)


class Mixture:
    """The noise in x_t on DDPM's chain for the mixture, and its density."""

    def __init__(self, path: pf.paths.Path) -> None:
        self.path, self.calls = path, 0
        self.x = torch.linspace(-1.4, 1.4, 16)[:, None]

    def __call__(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        self.calls += 1
        c = self.path.coefficients(t)
        return self.noise(x, c.alpha[:, None], c.sigma[:, None])

    def noise(self, x: Tensor, alpha: Tensor | float, sigma: Tensor) -> Tensor:
        """E[eps | alpha x0 + sigma eps = x]."""
        off, var = x - alpha * MEANS, alpha**2 * STDS**2 + sigma**2
        share = (-(off**2) / (2 * var) - var.log() / 2 + WEIGHTS.log()).softmax(1)
        return (share * sigma / var * off).sum(1, keepdim=True)

    def denoised(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x0 + sigma eps = x]."""
        self.calls += 1
        return x - sigma * self.noise(x, 1.0, sigma)

    def log_prob(self, alpha: float, sigma: float) -> Tensor:
        """Of the events, as alpha x0 + sigma eps."""
        off, var = self.x - alpha * MEANS, alpha**2 * STDS**2 + sigma**2
        return (-(off**2) / (2 * var) - (2 * math.pi * var).log() / 2 + WEIGHTS.log()).logsumexp(1)


def integrate(field: Callable[[Tensor, Tensor], Tensor], x: Tensor, start: float, end: float, rtol: float, atol: float):
    """(x, one column) from start to end by Dormand and Prince's pair: torchdiffeq's, one step for the whole batch."""
    state = torch.cat([x, x.new_zeros(len(x), 1)], 1)
    if TORCHDIFFEQ:
        import torchdiffeq

        times = torch.tensor([start, end])
        return torchdiffeq.odeint(lambda t, s: field(s, t), state, times, rtol=rtol, atol=atol, method="dopri5")[-1]
    solver = Adaptive(rtol=rtol, atol=atol)
    return pf.solvers.drain(solver.trajectory(lambda s, t: field(s, t[:, None]), state, start=start, end=end))


def probed(velocity: Field, probe: Callable[[Tensor], Tensor]) -> Field:
    """(x, divergence by one probe) as one field."""

    def field(state: Tensor, t: Tensor) -> Tensor:
        with torch.enable_grad():
            x = state[:, :-1].detach().requires_grad_()
            slope, v = velocity(x, t), probe(x)
            product = torch.autograd.grad((slope * v).sum(), x)[0]
        return torch.cat([slope, (product * v).sum(1, keepdim=True)], 1).detach()

    return field


def signs(x: Tensor) -> Tensor:
    """Random signs of x's shape."""
    return torch.randint(0, 2, x.shape) * 2.0 - 1


def show(name: str, log_prob: Tensor, exact: Tensor, calls: int, found: Likelihood | None = None) -> None:
    """One line of the table."""
    off = log_prob - exact
    said = f"{off.square().mean().sqrt():.2f} (reports {found.error.mean():.2f})" if found and found.columns else ""
    print(f"| {name} | {off.abs().max():.1e} | {said} | {calls} |")


def ours(name: str, data: Gaussian | Mixture, model: pf.Diffusion, solver: Solver | None, trace: Trace) -> None:
    """A line of ours."""
    found = likelihood(model, data.x, solver=solver, trace=trace, check=False)
    exact = data.log_prob() if isinstance(data, Gaussian) else data.log_prob(found.alpha, found.sigma)
    show(f"pushforward, {name}", found.log_prob, exact, found.nfe, found)


def fresh_probes(data: Gaussian) -> None:
    """SiT's way: a new probe in every call, and the network once more for it; its tolerances."""
    data.calls = 0

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        data(x, t)  # the drift itself is a second call there
        return data(x, t)

    end = integrate(probed(velocity, signs), data.x, 0.0, 1.0, rtol=1e-3, atol=1e-6)
    log_prob = torch.distributions.Normal(0.0, 1.0).log_prob(end[:, :-1]).sum(1) + end[:, -1]
    show("SiT's way: fresh probes, dopri5", log_prob, data.log_prob(), data.calls)


def in_sigma(data: Gaussian | Mixture, low: float, high: float, exact: Tensor, x: Tensor) -> None:
    """k-diffusion's way: d x/d sigma with one fixed probe; its tolerances."""
    data.calls, fixed = 0, signs(x)
    field = probed(lambda x, sigma: (x - data.denoised(x, sigma)) / sigma, lambda x: fixed)
    end = integrate(field, x, low, high, rtol=1e-4, atol=1e-4)
    log_prob = torch.distributions.Normal(0.0, high).log_prob(end[:, :-1]).sum(1) + end[:, -1]
    show("k-diffusion's way: one fixed probe, dopri5 in sigma", log_prob, exact, data.calls)


def flow_matching(data: Gaussian) -> None:
    """The library itself, whose time runs the other way."""
    if not FLOW_MATCHING:
        print("| flow_matching | not installed | | |")
        return
    from flow_matching.solver import ODESolver
    from flow_matching.utils import ModelWrapper

    class Theirs(ModelWrapper):
        def forward(self, x: Tensor, t: Tensor, **extras: Tensor) -> Tensor:
            return -data(x, 1 - t)

    base = lambda z: torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)  # noqa: E731
    for name, step, method, exact in (
        ("euler (its default), step 0.05, exact", 0.05, "euler", True),
        ("midpoint, step 0.05, exact", 0.05, "midpoint", True),
        ("dopri5, exact", None, "dopri5", True),
        ("dopri5, one fixed probe", None, "dopri5", False),
    ):
        data.calls = 0
        _, log_prob = ODESolver(Theirs(torch.nn.Identity())).compute_likelihood(
            data.x.clone(), base, step, method, time_grid=torch.tensor([1.0, 0.0]), exact_divergence=exact
        )
        show(f"flow_matching, {name}", log_prob, data.log_prob(), data.calls)


def main() -> None:
    """Print both tables."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    head = "\n| {} | largest error, nats | root mean square | calls |\n|---|---|---|---|"
    data = Gaussian()
    model = pf.Diffusion(data, shape=(16,))
    print(head.format("gaussian, 16 numbers"))
    for name, solver, trace in (
        ("RK4(10), exact", RK4(10), Exact()),
        ("adaptive, exact", None, Exact()),
        ("adaptive, 1 fixed probe", None, Hutchinson(1)),
        ("adaptive, 16 fixed probes", None, Hutchinson(16)),
        ("adaptive, sketch of 4 and 8 probes", None, HutchPlus(4, 8)),
    ):
        ours(name, data, model, solver, trace)
    flow_matching(data)
    fresh_probes(data)
    in_sigma(data, 0.01, 80.0, data.log_prob(0.01), data.x)

    path = pf.paths.Discrete.scheduled()
    mixed = Mixture(path)
    mean, var = 0.08, 0.3 * (0.0225 + 0.81) + 0.7 * (0.09 + 0.25) - 0.08**2
    print(head.format("mixture, DDPM's 1000 steps"))
    plain = pf.Diffusion(mixed, path, pf.paths.eps, shape=(1,))
    ours("RK4(40)", mixed, plain.matched(mean, var), RK4(40), Exact())
    ours("adaptive, 1e-6", mixed, plain.matched(mean, var), Adaptive(1e-6, 1e-6), Exact())
    ours("adaptive, 1e-6, base of mean 0", mixed, plain, Adaptive(1e-6, 1e-6), Exact())
    ends = path.coefficients(torch.tensor([0.0, 1.0]))
    low, high = (ends.sigma / ends.alpha).tolist()
    exact = mixed.log_prob(ends.alpha[0].item(), ends.sigma[0].item()) + math.log(ends.alpha[0].item())
    in_sigma(mixed, low, high, exact, mixed.x / ends.alpha[0])


if __name__ == "__main__":
    main()
