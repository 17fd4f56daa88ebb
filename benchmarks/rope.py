"""Rotary positions beside other implementations, as multiples of an in-place copy of the same bytes.

    python benchmarks/rope.py [rounds] [shape ...]          shapes: small middle large

One tensor of queries; tables are made before, as a model makes them once for all layers. Every implementation gets the
tables it has in practice (those of transformers are in the dtype of the model). Rounds alternate between
implementations; CPU time of one thread; median of the ratio to the copy of the same round, with its quartiles. Forward
and backward starts from a tensor that is not a leaf, as a projection's output is. Memory is the peak of what torch's
allocator handed out during a forward pass, in units of the input. Error is the relative distance (Frobenius) to
float64. What is not installed is reported as absent.
"""

import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from pushforward.positions import Layout, Rotary, frequencies, phases, rotate, rotate_

SHAPES = {"small": (1, 8, 2048, 64), "middle": (4, 16, 1024, 64), "large": (1, 32, 8192, 128)}


@dataclass(frozen=True)
class Contender:
    """An implementation x -> rotated x with the layout it assumes, or why it is not there."""

    name: str
    run: Callable[[Tensor], Tensor] | None
    layout: Layout = "interleaved"
    absent: str = ""


def imported(module: str) -> ModuleType | None:
    """A module, or None."""
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError):
        return None


def ours(tokens: int, features: int) -> Iterator[Contender]:
    """This library's, over the input or into fresh memory, in both layouts."""
    for layout in ("interleaved", "half"):
        cos, sin = Rotary(layout=layout).tables(torch.arange(tokens), features)
        yield Contender(f"rotate_, {layout}", lambda x, c=cos, s=sin, f=layout: rotate_(x, c, s, f), layout)
        yield Contender(f"rotate, {layout}", lambda x, c=cos, s=sin, f=layout: rotate(x, c, s, f), layout)


def formulas(tokens: int, features: int, dtype: torch.dtype) -> Iterator[Contender]:
    """Written from their definitions."""
    cos, sin = Rotary(precision="float32").tables(torch.arange(tokens), features)
    cis = torch.complex(cos, sin)

    def product(x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * cis).flatten(-2).type_as(x)

    def torchtune(x: Tensor) -> Tensor:
        y = x.float().unflatten(-1, (-1, 2))
        turned = [y[..., 0] * cos - y[..., 1] * sin, y[..., 1] * cos + y[..., 0] * sin]
        return torch.stack(turned, -1).flatten(-2).type_as(x)

    yield Contender("complex product (Llama)", product)
    yield Contender("torchtune's formula", torchtune)
    compiled: Any = torch.compile(torchtune)
    try:
        compiled(torch.zeros(1, 2, tokens, features, dtype=dtype))
        yield Contender("torch.compile of it", compiled)
    except Exception as error:  # the ways in which a compiler can be missing are many
        yield Contender("torch.compile of it", None, absent=type(error).__name__)


def transformers(tokens: int, features: int, dtype: torch.dtype) -> Iterator[Contender]:
    """Llama's and RoFormer's."""
    llama, roformer = (imported(f"transformers.models.{m}.modeling_{m}") for m in ("llama", "roformer"))
    if llama is None or roformer is None:
        yield Contender("transformers", None, absent="not installed")
        return
    config = importlib.import_module("transformers").LlamaConfig(hidden_size=features, num_attention_heads=1)
    cos, sin = llama.LlamaRotaryEmbedding(config)(torch.zeros(1, dtype=dtype), torch.arange(tokens)[None])
    angles = phases(torch.arange(tokens), frequencies(10_000.0, features))
    wave = torch.cat([angles.sin(), angles.cos()], -1)[None, None].to(dtype)
    turn = roformer.RoFormerSelfAttention.apply_rotary_position_embeddings
    yield Contender("HF Llama", lambda x: llama.apply_rotary_pos_emb(x, x[:, :0], cos, sin)[0], "half")
    yield Contender("HF RoFormer", lambda x: turn(wave, x, x[:, :0])[0])


def lucidrains(tokens: int, features: int) -> Iterator[Contender]:
    """rotary-embedding-torch and x-transformers."""
    one, other = imported("rotary_embedding_torch"), imported("x_transformers.x_transformers")
    if one is None:
        yield Contender("rotary-embedding-torch", None, absent="not installed")
    else:
        embedding = one.RotaryEmbedding(dim=features, cache_max_seq_len=tokens)
        yield Contender("rotary-embedding-torch", embedding.rotate_queries_or_keys)
    if other is None:
        yield Contender("x-transformers", None, absent="not installed")
    else:
        waves, scale = other.RotaryEmbedding(features)(torch.arange(tokens))
        yield Contender("x-transformers", lambda x: other.apply_rotary_pos_emb(x, waves, scale))


class Given(torch.autograd.Function):
    """A tensor as the output of an operation that costs nothing."""

    @staticmethod
    def forward(ctx: Any, seed: Tensor, box: list[Tensor]) -> Tensor:
        return box[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0][..., :1].sum() * 0, None


def training(run: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> Callable[[], None]:
    """Forward and backward."""
    seed = torch.zeros((), requires_grad=True)

    def step() -> None:
        run(Given.apply(seed, [x.detach()])).backward(grad)

    return step


def error(contender: Contender, dtype: torch.dtype, tokens: int, features: int) -> float:
    """Relative distance to float64."""
    x = torch.randn(1, 2, tokens, features, generator=torch.Generator().manual_seed(0)).to(dtype)
    cos, sin = Rotary().tables(torch.arange(tokens), features, torch.float64)
    exact = rotate(x.double(), cos, sin, contender.layout)
    with torch.no_grad():
        return ((contender.run(x.clone()).double() - exact).norm() / exact.norm()).item()  # type: ignore[misc]


def memory(run: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Peak of what is allocated, in units of x."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        out = run(x)
    del out
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak / (x.numel() * x.element_size())


def ratios(steps: dict[str, Callable[[], Any]], floor: Callable[[], Any], rounds: int) -> dict[str, list[float]]:
    """Time over the floor's, round by round."""
    kept: dict[str, list[float]] = {name: [] for name in steps}
    for step in (floor, *steps.values()):
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            times: list[float] = []
            for each in (floor, step):
                began = time.thread_time()
                each()
                times.append(time.thread_time() - began)
            kept[name].append(times[1] / times[0])
    return kept


def cell(values: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.1f} ({low:.1f}-{high:.1f})"


def table(shape: tuple[int, ...], dtype: torch.dtype, rounds: int) -> None:
    """Print one table."""
    *_, tokens, features = shape
    x, grad = torch.randn(2, *shape, dtype=dtype).unbind()
    target = torch.empty_like(x)
    there = [
        *ours(tokens, features), *formulas(tokens, features, dtype), *transformers(tokens, features, dtype),
        *lucidrains(tokens, features),
    ]  # fmt: skip
    runs = {c.name: c.run for c in there if c.run is not None}
    with torch.no_grad():
        forward = ratios({n: lambda r=r: r(x) for n, r in runs.items()}, lambda: target.copy_(x), rounds)
        bytes_of = {n: memory(r, x) for n, r in runs.items()}
    both = ratios({n: training(r, x, grad) for n, r in runs.items()}, lambda: target.copy_(x), rounds)
    began = time.thread_time()
    target.copy_(x)
    took = 1e3 * (time.thread_time() - began)
    size = x.numel() * x.element_size() / 2**20
    print(f"\n{list(shape)}, {str(dtype)[6:]}: a copy of {size:.0f} MiB takes {took:.2f} ms")
    print("\n| | forward | forward and backward | memory | error |\n|---|---|---|---|---|")
    for c in there:
        if c.run is None:
            print(f"| {c.name} | absent: {c.absent} | | | |")
        else:
            wrong = error(c, dtype, tokens, features)
            print(
                f"| {c.name} | {cell(forward[c.name])} | {cell(both[c.name])} | {bytes_of[c.name]:.2f} | {wrong:.1e} |"
            )


def main(rounds: int, names: list[str]) -> None:
    """Print a table for each shape and dtype."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, {rounds} interleaved rounds")
    for name in names or SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            table(SHAPES[name], dtype, rounds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7, sys.argv[2:])
