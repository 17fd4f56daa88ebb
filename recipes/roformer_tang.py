"""RoFormer pre-trained from scratch on Tang poems by filling in blanks: turned by position, or told it by a table.

    python recipes/roformer_tang.py tang_poems.txt --seeds 3 --steps 2000 --out runs/roformer_tang

Both are the same `RoFormer` but for the position: one turns queries and keys (`Rotary`), the other turns nothing and
adds a trained vector per position to each word, as BERT does (the table of kinds, asked for positions instead). What is
drawn is the loss on held-out poems, whose blanks are the same at every step and for every model.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from statistics import fmean, stdev

import torch
from matplotlib.figure import Figure
from torch import Tensor

import pushforward as pf
from pushforward.data import WordPieces
from pushforward.data.word_pieces import MARKS
from pushforward.objectives import hidden_loss, hide_words
from pushforward.positions import CustomRotary, Rotary
from pushforward.report.plots import INK

LENGTH, WIDTH, LAYERS, HEADS, HIDDEN = 64, 64, 2, 4, 128
CHARACTERS, BATCH, EVERY, RATE, JUDGED = 3_000, 16, 100, 2e-3, 256
KINDS = {"rotary": "#2b83ba", "learned": "#d9622b"}


def poems(path: Path) -> list[str]:
    """The verses of each poem, without title and poet, that fit a row with its two marks."""
    blocks = path.read_text(encoding="utf-8").replace("\r", "").strip().split("\n\n")
    verses = ["".join(block.split("\n")[2:]) for block in blocks]
    return [verse for verse in verses if 20 <= len(verse) <= LENGTH - 2]


class Rows:
    """Poems as rows of tokens, a part of them held out."""

    def __init__(self, path: Path) -> None:
        verses = poems(path)
        known = Counter("".join(verses)).most_common(CHARACTERS)
        self.pieces = WordPieces((*MARKS, *sorted(character for character, _ in known)))
        order = pf.Draw(0, "held out").permutation(len(verses)).tolist()
        cut = len(verses) // 20
        self.held_out = self.pieces.encode([verses[i] for i in order[:JUDGED]])
        self.train = self.pieces.encode([verses[i] for i in order[cut:]])

    def batch(self, draw: pf.Draw) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, words and what is no padding, of random poems."""
        chosen = draw.of("rows").integers(BATCH, len(self.train.tokens))
        real = self.train.real[chosen]
        longest = int(real.sum(1).max())
        return self.train.tokens[chosen, :longest], self.train.words[chosen, :longest], real[:, :longest]

    def hide(self, tokens: Tensor, words: Tensor, draw: pf.Draw) -> tuple[Tensor, Tensor]:
        """Tokens with blanks, and where they are."""
        mask = self.pieces.places["[MASK]"]
        return hide_words(tokens, draw, vocabulary=len(self.pieces.vocabulary), mask=mask, words=words)


def model_of(kind: str, vocabulary: int, seed: int) -> pf.nets.RoFormer:
    """The same model, turned or told."""
    still = CustomRotary((0.0,) * (WIDTH // HEADS // 2))
    torch.manual_seed(seed)
    return pf.nets.RoFormer(pf.nets.RoFormerConfig(
        vocabulary=vocabulary, width=WIDTH, layers=LAYERS, heads=HEADS, hidden=HIDDEN, kinds=LENGTH,
        position=Rotary() if kind == "rotary" else still,
    ))  # fmt: skip


def losses(model: pf.nets.RoFormer, kind: str, rows: tuple[Tensor, ...], asked: Tensor, tokens: Tensor) -> Tensor:
    """The loss of each row, in nats per blank."""
    hidden, real = rows
    kinds = torch.arange(tokens.shape[1]).expand_as(tokens) if kind == "learned" else None
    h = model(hidden, kinds=kinds, mask=real[:, None, None, :])
    return hidden_loss(model.word_logits(h[asked]), tokens, asked)


def train(kind: str, seed: int, rows: Rows, steps: int) -> dict[str, list[float]]:
    """One run: the steps at which it was judged, and the losses there."""
    model = model_of(kind, len(rows.pieces.vocabulary), seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    warm = max(1, min(200, steps // 2))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warm, (steps - s) / max(1, steps - warm))
    )
    curve: dict[str, list[float]] = {"step": [], "loss": []}
    for step in range(steps):
        if step % EVERY == 0:
            note(curve, step, model, kind, rows)
        draw = pf.Draw(seed, "train", step)
        tokens, words, real = rows.batch(draw)
        hidden, asked = rows.hide(tokens, words, draw)
        loss = losses(model, kind, (hidden, real), asked, tokens).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    note(curve, steps, model, kind, rows)
    return curve


@torch.no_grad()
def note(curve: dict[str, list[float]], step: int, model: pf.nets.RoFormer, kind: str, rows: Rows) -> None:
    """Judge the model on the held-out poems; each blank counts the same."""
    held = rows.held_out
    hidden, asked = rows.hide(held.tokens, held.words, pf.Draw(0, "judge"))
    total = sum(
        (losses(model, kind, (hidden[i : i + 64], held.real[i : i + 64]), asked[i : i + 64], held.tokens[i : i + 64])
         * asked[i : i + 64].sum(1)).sum().item()
        for i in range(0, len(hidden), 64)
    )  # fmt: skip
    curve["step"].append(step)
    curve["loss"].append(total / int(asked.sum()))


def draw_curves(runs: dict[str, list[dict[str, list[float]]]], path: Path) -> None:
    """Means over seeds, with each seed thin behind, from the first step that was judged on."""
    figure = Figure(figsize=(7.2, 3.2), dpi=130, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    for kind, curves in runs.items():
        for each in curves:
            axes.plot(each["step"][1:], each["loss"][1:], color=KINDS[kind], linewidth=0.7, alpha=0.5)
        means = [fmean(values) for values in zip(*(each["loss"][1:] for each in curves), strict=True)]
        axes.plot(curves[0]["step"][1:], means, color=KINDS[kind], linewidth=1.8, label=kind)
    axes.set_xlabel("step", color=INK)
    axes.set_ylabel("nats per blank, held-out poems", color=INK)
    axes.tick_params(colors=INK, labelcolor=INK)
    axes.legend(frameon=False, labelcolor=INK)
    axes.grid(True, color=INK, linewidth=0.4, alpha=0.35)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    """Train what is missing, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("poems", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--out", type=Path, default=Path("runs/roformer_tang"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    file, rows = options.out / f"curves-{options.steps}.json", Rows(options.poems)
    found: dict[str, dict[str, list[float]]] = json.loads(file.read_text()) if file.is_file() else {}
    for seed in range(options.seeds):
        for kind in KINDS:
            if f"{kind}/{seed}" not in found:
                began = time.monotonic()
                curve = found[f"{kind}/{seed}"] = train(kind, seed, rows, options.steps)
                file.write_text(json.dumps(found, indent=1))
                print(f"{kind}, seed {seed}: {curve['loss'][-1]:.3f} ({time.monotonic() - began:.0f} s)", flush=True)
    runs = {kind: [found[f"{kind}/{seed}"] for seed in range(options.seeds)] for kind in KINDS}
    for kind, curves in runs.items():
        last = [each["loss"][-1] for each in curves]
        spread = stdev(last) if len(last) > 1 else float("nan")
        print(f"{kind:8} {fmean(last):.3f} ± {spread:.3f} nats per blank after {options.steps:,} steps")
    draw_curves(runs, options.out / "curves.png")


if __name__ == "__main__":
    main()
