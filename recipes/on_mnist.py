"""What the recipes on MNIST share: the split of the flow papers, training that goes on where it was, the figures.

    x = (v + u)/256,   v = 0..255,   u ~ U[0, 1) fresh in every batch and in every evaluation

The first 50,000 images of the training file to train on, its last 10,000 to choose on, 10,000 to test. Averaged weights
are what is judged, on the images to choose on while training goes on, and at the end on both parts: one u an image, the
mean of log p over images and its standard error, in float32 whatever training ran in.

Killed at any moment, the same command goes on from the last checkpoint and ends with the same bits.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

import pushforward as pf
from pushforward.training.precision import native

SCALING = pf.data.Scaling(scale=1 / 256, levels=256)


def mnist(folder: Path, held_out: int) -> tuple[pf.data.Dataset, pf.data.Dataset]:
    """Images to train on with those to choose on, and the same with those to test on, each flat."""
    found = pf.data.open_data(folder).unlabelled()
    images, test = found.values.flatten(1), found.held_out.flatten(1)
    choosing = replace(found, kind="array", values=images[:-held_out], held_out=images[-held_out:], scaling=SCALING)
    return choosing, replace(choosing, held_out=test)


def measured(flow: pf.models.Model, data: pf.data.Dataset, seed: int) -> pf.report.Bits:
    """Bits per dimension, and nats on [0, 1] first of all; one fresh u for each image."""
    return pf.report.bits(flow, data, seed=seed, chunk=1_000, check=False)


def trained(made: Callable[[tuple[int, ...]], pf.NormalizingFlow], options: argparse.Namespace) -> pf.report.Estimate:
    """Train the flow made for images of this shape, or go on; print its figures; return the nats of the test images."""
    choosing, testing = mnist(options.mnist, options.held_out)
    began, epoch = time.process_time(), len(choosing) // options.batch
    every = epoch * options.every
    precision = options.precision or ("bf16" if native(torch.bfloat16, options.device) else "fp32")
    torch.manual_seed(options.seed)
    flow = pf.models.prepare(made(choosing.shape), choosing.train_batch(pf.Draw(options.seed, "start")))
    settings = pf.training.Settings(
        steps=options.epochs * epoch, batch=options.batch, lr=options.lr, weight_decay=options.weight_decay,
        rates=(("shift", options.diagonal), ("log_scale", options.diagonal)), ema=options.ema, warmup=options.warmup,
        clip=options.clip, precision=precision, seed=options.seed, device=options.device,
        threads=options.threads, log_every=every, checkpoint_every=every,
    )  # fmt: skip
    history = pf.train(
        flow, choosing, pf.objectives.Likelihood(), settings=settings, run=options.out,
        judge=lambda flow: measured(flow, choosing, options.seed).nats[0].mean.value, judge_every=every,
    )  # fmt: skip
    print("| epochs | training, nats | validation, nats |\n|---|---|---|")
    for (step, judged), loss in zip(history.judged, history.losses, strict=True):
        print(f"| {step // epoch} | {-loss * math.prod(choosing.shape):.1f} | {judged:.1f} |")
    print(f"{history.seconds[-1] / 60:.1f} minutes, of CPU in this process {(time.process_time() - began) / 60:.1f}")
    validation, test = measured(flow, choosing, options.seed), measured(flow, testing, options.seed + 1)
    print(f"validation  {validation}\ntest        {test}")
    print(f"test        {test.nats[0].mean.value:.2f} +- {test.nats[0].mean.error:.2f} nats on [0, 1]")
    return test.nats[0].mean


def parser(about: str | None, **defaults: object) -> argparse.ArgumentParser:
    """The command line of a recipe; its defaults are the run that is reported."""
    found = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("mnist", type=Path, help="the folder with train-images-idx3-ubyte.gz and t10k-images-...")
    found.add_argument("--out", type=Path, help="the run folder")
    found.add_argument("--epochs", type=int)
    found.add_argument("--batch", type=int, default=500)
    found.add_argument("--lr", type=float, default=1e-3)
    found.add_argument("--diagonal", type=float, default=1.0, help="factor on the rate of shifts and diagonals")
    found.add_argument("--warmup", type=int, default=200, help="steps")
    found.add_argument("--weight-decay", type=float, default=0.0)
    found.add_argument("--ema", type=float, default=0.998)
    found.add_argument("--clip", type=float, default=0.0)
    found.add_argument("--hidden", type=int, help="units of a layer")
    found.add_argument("--layers", type=int, help="hidden layers of a network")
    found.add_argument("--dropout", type=float, default=0.0)
    found.add_argument(
        "--held-out", type=int, default=10_000, help="images at the end of the training file that choose"
    )
    found.add_argument(
        "--precision", help="of training's forward and backward pass: bf16 where the processor has it, else fp32"
    )
    found.add_argument("--every", type=int, default=2, help="epochs from one validation and checkpoint to the next")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--device", default="cpu")
    found.add_argument("--threads", type=int, default=1)
    found.set_defaults(**defaults)
    return found
