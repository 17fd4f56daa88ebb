"""A Performer with and without rotary positions as a language model of characters (RoFormer's figure 3, right).

    python benchmarks/performer.py
    python benchmarks/performer.py TEXT [--steps 400] [--seeds 0 1] [--out DIR] [--encodings rotary learned]

Without a text, it prints what a layer costs: milliseconds of CPU time forward, and forward and backward, of causal
softmax and linear attention (width 256, 4 heads, one row, float32), the median of five.

TEXT is any text file; its last tenth is held out. The network is causal, pre-norm, with linear attention through the
Performer's positive orthogonal features (FAVOR+); the rotation is in the numerator alone. Encodings differ in nothing
else: initial weights, rows and directions are those of the seed. Directions stay, as the runs are short. Writes
`performer.csv` (encoding, seed, step, seconds, training and held-out bits per character) and `performer.png` to DIR.
One thread.

References: Su et al. 2021, arXiv 2104.09864, section 4.4; Choromanski et al. 2020, arXiv 2009.14794.
"""

import argparse
import csv
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pushforward._random import Draw
from pushforward.nets import Attention, EluFeatures, LinearAttention, PositiveFeatures, place_linear
from pushforward.nets.feature_maps import of_layer
from pushforward.positions import Embeds, Learned, Position, Rotary, Unordered

WIDTH, LAYERS, HEADS, FEATURES = 64, 2, 4, 32
LENGTH, ROWS, EVERY, HELD_ROWS = 256, 8, 50, 24
RATE, WARM = 3e-3, 50

NAMES = {"rotary": "RoPE", "learned": "learned absolute", "none": "no positions"}
COLOURS = {"rotary": "#0b6e8f", "learned": "#c4572f", "none": "#777777"}


@dataclass(frozen=True)
class Point:
    """One measurement of one run."""

    encoding: str
    seed: int
    step: int
    seconds: float
    train: float
    held_out: float


def encoding(name: str) -> Position:
    """An encoding by its name."""
    made = {"rotary": Rotary, "learned": lambda: Learned(LENGTH, WIDTH), "none": Unordered}
    return made[name]()


class Language(nn.Module):
    """Characters in, logits of the next out."""

    def __init__(self, vocabulary: int, position: Position) -> None:
        super().__init__()
        self.position, self.map = position, PositiveFeatures(FEATURES)
        self.word = nn.Embedding(vocabulary, WIDTH)
        nn.init.normal_(self.word.weight, std=0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2 * LAYERS + 1))
        self.mix = nn.ModuleList(
            LinearAttention(WIDTH, HEADS, Unordered(), of_layer(self.map, i), causal=True) for i in range(LAYERS)
        )
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)) for _ in range(LAYERS)
        )

    def forward(self, characters: Tensor) -> Tensor:
        h, pos = self.word(characters), torch.arange(characters.shape[1])
        if isinstance(self.position, Embeds):
            h = self.position.embed(h, pos)
        placed = place_linear(self.position, self.map, pos, WIDTH // HEADS, h.dtype)
        for i in range(LAYERS):
            h = h + self.mix[i](self.norms[2 * i](h), pos, placed=placed)
            h = h + self.networks[i](self.norms[2 * i + 1](h))
        return self.norms[-1](h) @ self.word.weight.T


def bits(net: Language, rows: Tensor) -> Tensor:
    """Mean bits per character of all but the first of each row."""
    logits = net(rows[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()) / math.log(2)


def windows(text: Tensor, starts: Tensor) -> Tensor:
    """Rows of LENGTH + 1 characters."""
    return text[starts[:, None] + torch.arange(LENGTH + 1)]


def train(text: Tensor, held: Tensor, name: str, seed: int, steps: int) -> Iterator[Point]:
    """One run."""
    torch.manual_seed(seed)
    vocabulary = int(max(text.max(), held.max())) + 1
    net = Language(vocabulary, Unordered())  # so that weights do not depend on what the encoding draws
    net.position = encoding(name)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    draw, began = Draw(seed, "rows"), time.thread_time()
    last = windows(held, torch.arange(HELD_ROWS) * ((len(held) - LENGTH - 1) // HELD_ROWS))
    running: list[float] = []
    for step in range(steps + 1):
        if step % EVERY == 0:
            with torch.no_grad():
                now = bits(net, last).item()
            mean = sum(running) / len(running) if running else math.nan
            yield Point(name, seed, step, round(time.thread_time() - began, 1), round(mean, 4), round(now, 4))
            running = []
        for group in optimiser.param_groups:
            group["lr"] = RATE * min((step + 1) / WARM, 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2)
        loss = bits(net, windows(text, draw.at(step).integers(ROWS, len(text) - LENGTH - 1)))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        running.append(loss.item())


def write(points: list[Point], path: Path) -> None:
    """All measurements as a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(asdict(points[0])), lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(point) for point in points)


def picture(points: list[Point], path: Path) -> None:
    """Held-out curves, one line per run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    runs: dict[tuple[str, int], list[Point]] = defaultdict(list)
    for point in points:
        runs[point.encoding, point.seed].append(point)
    shown: set[str] = set()
    for (name, _), run in runs.items():
        later = [point for point in run if point.step]
        label = None if name in shown else NAMES[name]
        axes.plot([p.step for p in later], [p.held_out for p in later], color=COLOURS[name], label=label, lw=1.4)
        shown.add(name)
    axes.set(xlabel="step", ylabel="held-out bits per character")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(title="Performer with", frameon=False)
    figure.savefig(path, dpi=120)


def took(call: Callable[[], object], rounds: int = 5) -> float:
    """Median milliseconds of CPU time."""
    times: list[float] = []
    for _ in range(rounds + 1):
        began = time.thread_time()
        call()
        times.append(1e3 * (time.thread_time() - began))
    return statistics.median(times[1:])


def speed() -> None:
    """Print what layers cost."""
    layers: dict[str, Attention | LinearAttention] = {"softmax": Attention(256, 4, Rotary(), causal=True)}
    for name, map in {"elu": EluFeatures(), "positive, 64": PositiveFeatures(64)}.items():
        layers[name] = LinearAttention(256, 4, Rotary(), map, causal=True)
    print("| tokens | " + " | ".join(layers) + " |\n" + "|---" * (len(layers) + 1) + "|")
    for tokens in (256, 1024, 4096):
        x, pos, cells = torch.randn(1, tokens, 256, requires_grad=True), torch.arange(tokens), list[str]()
        for layer in layers.values():
            with torch.no_grad():
                forward = took(lambda: layer(x, pos))  # noqa: B023
            cells.append(f"{forward:.1f}, {took(lambda: layer(x, pos).sum().backward()):.1f}")  # noqa: B023
        print(f"| {tokens} | " + " | ".join(cells) + " |", flush=True)
    last = layers["positive, 64"]
    assert isinstance(last, LinearAttention)
    with torch.no_grad():
        _, state = last.extend(torch.randn(1, 4096, 256), torch.arange(4096))
        one = took(lambda: last.extend(torch.randn(1, 1, 256), torch.tensor([4096]), state), 21)
    print(f"\nthe token after 4096: {one:.2f} ms")


def main() -> None:
    """Train all and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--encodings", nargs="+", default=["rotary", "learned"], choices=list(NAMES))
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.text is None:
        speed()
        return
    _, codes = torch.frombuffer(bytearray(given.text.read_bytes()), dtype=torch.uint8).unique(return_inverse=True)
    text, held = codes.split([len(codes) - len(codes) // 10, len(codes) // 10])
    given.out.mkdir(parents=True, exist_ok=True)
    points: list[Point] = []
    for seed in given.seeds:
        for name in given.encodings:
            for point in train(text, held, name, seed, given.steps):
                points.append(point)
                print(*asdict(point).values(), sep="\t", flush=True)
            write(points, given.out / "performer.csv")
    picture(points, given.out / "performer.png")


if __name__ == "__main__":
    main()
