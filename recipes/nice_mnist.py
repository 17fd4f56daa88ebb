"""NICE on MNIST by the protocol of its paper: test log-likelihood in nats.

    python recipes/nice_mnist.py MNIST [--out runs/nice_mnist] [--epochs N] ...

MNIST is the folder with the four files of the set. As in Dinh, Krueger and Bengio 2014 (arXiv 1410.8516) and their
code: the first 50,000 images to train on, the last 10,000 of the training file to choose on, 10,000 to test;
x' = (255 x + u)/256 with fresh u ~ U[0, 1) in every batch and in every evaluation; the even numbers, then the odd;
four additive couplings whose networks have five layers of 1,000 ReLU units; one diagonal; a logistic base. Reported is
the mean of log p(x') over the test images, of one u each.

What differs from the paper is the optimisation. The shift and the diagonal start from the training images
(`models.prepare`), the networks at output 0, the weights are averaged (their averages are what is evaluated), and AdamW
follows a cosine. The forward pass of training may run in bf16; every reported likelihood is in float32.

Killed at any moment, the same command goes on from the last checkpoint and ends with the same bits.
"""

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import pushforward as pf
from pushforward.data.idx import read_idx

SCALING = pf.data.Scaling(scale=1 / 256, levels=256)  # (v + u)/256 with v = 255 x


def mnist(folder: Path, held_out: int = 10_000) -> tuple[pf.data.Dataset, pf.data.Dataset]:
    """Images to train on with those to choose on, and the same with those to test on, each flat."""
    train, test = (flat(folder, part) for part in ("train", "t10k"))
    choosing = pf.data.Dataset("mnist", "array", train[:-held_out], train[-held_out:], SCALING)
    return choosing, replace(choosing, held_out=test)


def flat(folder: Path, part: str) -> Tensor:
    """The images of a part as rows of bytes, gzipped or not."""
    found = sorted(folder.glob(f"{part}-images*"))
    if not found:
        raise SystemExit(f"No {part}-images-idx3-ubyte.gz in {folder}.")
    return torch.from_numpy(read_idx(found[0])).flatten(1)


def nats(flow: pf.models.Model, data: pf.data.Dataset, seed: int) -> pf.report.Estimate:
    """Mean log-density of held-out events on [0, 1], with its standard error; one fresh u for each."""
    return pf.report.bits(flow, data, seed=seed, chunk=1_000, check=False).nats[0].mean


def main(options: argparse.Namespace) -> pf.report.Estimate:
    """Train, or go on; print both likelihoods; return that of the test images."""
    choosing, testing = mnist(options.mnist, options.held_out)
    epoch = len(choosing) // options.batch
    every = epoch * options.every
    torch.manual_seed(options.seed)
    flow = pf.models.nice(
        choosing.shape, hidden=options.hidden, layers=options.layers, dropout=options.dropout,
        zero_output=True, spread=None,
    )  # fmt: skip
    flow = pf.models.prepare(flow, choosing.train_batch(pf.Draw(options.seed, "start")))
    settings = pf.training.Settings(
        steps=options.epochs * epoch, batch=options.batch, lr=options.lr, weight_decay=options.weight_decay,
        rates=(("shift", options.diagonal), ("log_scale", options.diagonal)), ema=options.ema, warmup=options.warmup,
        clip=options.clip, precision=options.precision, seed=options.seed, device=options.device,
        threads=options.threads, log_every=every, judge_every=every, checkpoint_every=every,
    )  # fmt: skip
    began = time.process_time()
    history = pf.train(
        flow, choosing, pf.objectives.Likelihood(), settings=settings, run=options.out,
        judge=lambda flow: nats(flow, choosing, seed=options.seed).value,
    )  # fmt: skip
    for (step, judged), loss in zip(history.judged, history.losses, strict=True):
        print(f"epoch {step // epoch:3d}   training {-loss * math.prod(choosing.shape):8.2f}   chosen on {judged:8.2f}")
    chosen, test = nats(flow, choosing, options.seed), nats(flow, testing, options.seed + 1)
    print(f"{(time.process_time() - began) / 60:.1f} minutes of CPU in this process")
    print(f"validation {chosen} nats, test {test.value:.2f} +- {test.error:.2f} nats (paper: 1980.50)")
    return test


def parser() -> argparse.ArgumentParser:
    """The command line; its defaults are the run that docs/nice_mnist.md reports."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("mnist", type=Path, help="the folder with train-images-idx3-ubyte.gz and t10k-images-...")
    found.add_argument("--out", type=Path, default=Path("runs/nice_mnist"), help="the run folder")
    found.add_argument("--epochs", type=int, default=100)
    found.add_argument("--batch", type=int, default=500)
    found.add_argument("--lr", type=float, default=1e-3)
    found.add_argument("--diagonal", type=float, default=5.0, help="factor on its learning rate and the shift's")
    found.add_argument("--warmup", type=int, default=200, help="steps")
    found.add_argument("--weight-decay", type=float, default=0.0)
    found.add_argument("--dropout", type=float, default=0.0)
    found.add_argument("--ema", type=float, default=0.999)
    found.add_argument("--clip", type=float, default=0.0)
    found.add_argument("--hidden", type=int, default=1_000)
    found.add_argument("--layers", type=int, default=5)
    found.add_argument(
        "--held-out", type=int, default=10_000, help="images at the end of the training file that choose"
    )
    found.add_argument("--precision", default="bf16", help="of training's forward and backward pass")
    found.add_argument("--every", type=int, default=2, help="epochs from one validation and checkpoint to the next")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--device", default="cpu")
    found.add_argument("--threads", type=int, default=None)
    return found


if __name__ == "__main__":
    main(parser().parse_args())
