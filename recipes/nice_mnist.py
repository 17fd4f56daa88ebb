"""NICE on MNIST by the protocol of its paper: test log-likelihood in nats.

    python recipes/nice_mnist.py MNIST

MNIST is the folder with the four files of the set. As in Dinh, Krueger and Bengio 2014 (arXiv 1410.8516) and their
code: the split and the noise of `on_mnist`; the even numbers, then the odd; four additive couplings whose networks have
five layers of 1,000 ReLU units, the vector reversed after each; one diagonal; a logistic base; no logit.

What differs is the optimisation. The shift and the diagonal start from the training images (`models.prepare`) and have
five times the learning rate, the networks start at output 0, the weights decay and are averaged, AdamW follows a
cosine, and the networks of training may run in bf16.
"""

import argparse
from pathlib import Path

import on_mnist

import pushforward as pf


def main(options: argparse.Namespace) -> pf.report.Estimate:
    """The nats of the test images on [0, 1]; the paper has 1980.50."""
    size = {"hidden": options.hidden, "layers": options.layers, "dropout": options.dropout}
    return on_mnist.trained(lambda shape: pf.models.nice(shape, **size, zero_output=True, spread=None), options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return on_mnist.parser(
        __doc__, out=Path("runs/nice_mnist"), epochs=60, hidden=1_000, layers=5, diagonal=5.0, weight_decay=0.5
    )


if __name__ == "__main__":
    main(parser().parse_args())
