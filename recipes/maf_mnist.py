"""MAF(5) on MNIST in logit space: test log-likelihood in nats and in bits per dimension.

    python recipes/maf_mnist.py MNIST

MNIST is the folder with the four files of the set. As in Papamakarios, Pavlakou and Murray 2017 (arXiv 1705.07057) and
their code: the split and the noise of `on_mnist`, logit(alpha + (1 - 2 alpha) x) with alpha = 1e-6, and five
autoregressive transforms with masked networks of one layer of 1,024 units, over a normal base. Nats are printed on
[0, 1] and in logit space, which is where the paper has them.

What differs: shifts and scales where the paper normalises by the batch, started from the training images
(`models.prepare`), orders that alternate, weight decay and averaged weights, and AdamW with a cosine.
"""

import argparse
from pathlib import Path

import on_mnist

import pushforward as pf


def main(options: argparse.Namespace) -> pf.report.Estimate:
    """The nats of the test images on [0, 1]."""
    size = {"hidden": options.hidden, "layers": options.layers, "dropout": options.dropout}
    return on_mnist.trained(lambda shape: pf.models.maf(shape, 5, **size, support=(0.0, 1.0), alpha=1e-6), options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return on_mnist.parser(
        __doc__, out=Path("runs/maf_mnist"), epochs=16, hidden=1_024, layers=1, weight_decay=0.5, clip=10.0
    )


if __name__ == "__main__":
    main(parser().parse_args())
