"""What a solver costs beside the network: CPU time per network call, an in-place axpy on the same tensor being 1.

    python benchmarks/overhead.py [rounds]

The field returns one fixed tensor, so everything measured is the solver's: 20 steps on (16, 3, 64, 64) float32, from
the grid to the endpoint, divided by the calls made; other libraries' schedulers are built before and set their
timesteps inside. Rounds alternate over all solvers; thread CPU time of one thread; medians and quartiles of the ratio
to the axpy of the same round. Libraries that are not installed have no rows.
"""

import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pushforward import paths, solvers
from pushforward.solvers import Solver, drain, grids

SHAPE, STEPS = (16, 3, 64, 64), 20
Run = Callable[[Tensor, Callable[..., Tensor]], object]
"""(start, field of whatever arguments) -> endpoint."""

OURS: dict[str, Solver] = {
    "Euler": solvers.Euler(STEPS),
    "Midpoint": solvers.Midpoint(STEPS),
    "Heun": solvers.Heun(STEPS),
    "RK4": solvers.RK4(STEPS),
    "Adaptive": solvers.Adaptive(),
    "DDIM": solvers.DDIM(STEPS),
    "Exponential 2": solvers.Exponential(STEPS, grids.Share()),
    "Exponential 3": solvers.Exponential(STEPS, grids.Share(), order=3),
    "Exponential 2, corrected": solvers.Exponential(STEPS, grids.Share(), correct=True),
    "DPM-Solver++ 2M": solvers.DPMSolver(STEPS),
    "Ancestral": solvers.Ancestral(STEPS),
    "SDE-DPM-Solver++ 2M": solvers.DPMSolver(STEPS, eta=1.0),
    "SDE-DPM-Solver++ 2M, Brownian path": solvers.DPMSolver(STEPS, eta=1.0, noise=solvers.Brownian()),
}


def ours() -> Iterator[tuple[str, Run]]:
    """This library's solvers, on a velocity of the straight path."""
    for name, solver in OURS.items():

        def run(x: Tensor, field: Callable[..., Tensor], solver: Solver = solver) -> Tensor:
            return drain(solver.trajectory(field, x, path=paths.Linear()))

        yield f"pushforward: {name}", run


def of_diffusers() -> Iterator[tuple[str, Run]]:
    """Schedulers, as their pipelines call them."""
    import diffusers

    for kind in (
        "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "DDIMScheduler", "EulerDiscreteScheduler",
        "HeunDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler",
    ):  # fmt: skip
        scheduler = getattr(diffusers, kind)()

        def run(x: Tensor, field: Callable[..., Tensor], scheduler: Any = scheduler) -> Tensor:
            scheduler.set_timesteps(STEPS)
            scale = getattr(scheduler, "scale_model_input", None)
            for t in scheduler.timesteps:
                out = field(x if scale is None else scale(x, t), t)
                x = scheduler.step(out, t, x, return_dict=False)[0]
            return x

        yield f"diffusers: {kind.removesuffix('Scheduler')}", run


def of_k_diffusion() -> Iterator[tuple[str, Run]]:
    """Samplers on Karras's grid; the stochastic ones draw from their Brownian tree, one for the whole batch."""
    from peers.from_k_diffusion import sampling

    warnings.filterwarnings("ignore", module="torchsde")
    k = sampling()
    for name in ("euler", "heun", "lms", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_sde"):
        sample = getattr(k, f"sample_{name}")

        def run(x: Tensor, field: Callable[..., Tensor], sample: Any = sample) -> Tensor:
            return sample(field, x, k.get_sigmas_karras(STEPS, 0.002, 80.0), disable=True)

        yield f"k_diffusion: {name}" + (" (Brownian tree)" if name.endswith("sde") else ""), run


def of_azula() -> Iterator[tuple[str, Run]]:
    """Samplers with a denoiser that wraps the field."""
    from azula import noise, sample
    from azula.denoise import Denoiser, DiracPosterior

    class Fixed(Denoiser):
        def __init__(self, field: Callable[..., Tensor]) -> None:
            super().__init__()
            self.field, self.schedule = field, noise.RectifiedSchedule()

        def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
            return DiracPosterior(mean=self.field(x_t, t))

    for name in ("DDIM", "Heun", "zAB"):
        kind = getattr(sample, f"{name}Sampler")

        def run(x: Tensor, field: Callable[..., Tensor], kind: Any = kind) -> Tensor:
            return kind(Fixed(field), steps=STEPS, silent=True)(x)

        yield f"azula: {name}", run


def of_flow_matching() -> Iterator[tuple[str, Run]]:
    """ODESolver with fixed steps."""
    from flow_matching.solver import ODESolver

    for method in ("euler", "midpoint"):

        def run(x: Tensor, field: Callable[..., Tensor], method: str = method) -> Tensor:
            return ODESolver(lambda x, t: field(x, t)).sample(x_init=x, step_size=1 / STEPS, method=method)

        yield f"flow_matching: {method}", run


PEERS = {
    "diffusers": of_diffusers,
    "k_diffusion": of_k_diffusion,
    "azula": of_azula,
    "flow_matching": of_flow_matching,
}


def seconds(run: Run, x: Tensor, out: Tensor) -> float:
    """CPU time per call of the field."""
    calls = 0

    def field(*_: object, **__: object) -> Tensor:
        nonlocal calls
        calls += 1
        return out

    began = time.thread_time()
    run(x, field)
    return (time.thread_time() - began) / calls


def axpy(x: Tensor, out: Tensor) -> float:
    """CPU time of the least a step can do."""
    x = x.clone()
    began = time.thread_time()
    for _ in range(STEPS):
        x.add_(out, alpha=0.05)
    return (time.thread_time() - began) / STEPS


@torch.no_grad()
def main(rounds: int) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    x, out = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    rows = dict(ours())
    for library, make in PEERS.items():
        if importlib.util.find_spec(library):
            rows |= dict(make())
    times: dict[str, list[float]] = {name: [] for name in rows}
    units: list[float] = []
    for run in rows.values():
        seconds(run, x, out)
    for _ in range(rounds):
        units.append(axpy(x, out))
        for name, run in rows.items():
            times[name].append(seconds(run, x, out))
    unit = statistics.median(units)
    print(f"torch {torch.__version__}, 1 thread, {rounds} interleaved rounds; an axpy on {SHAPE}: {1e6 * unit:.0f} us")
    print(f"{'':42}{'us per call':>12}{'axpys':>8}   quartiles")
    for name, kept in times.items():
        low, middle, high = statistics.quantiles([took / one for took, one in zip(kept, units)], n=4)
        print(f"{name:42}{1e6 * statistics.median(kept):12.0f}{middle:8.1f}   {low:.1f} to {high:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
