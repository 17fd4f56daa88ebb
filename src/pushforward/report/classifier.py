"""A judge: features in which samples are compared as a viewer would, not pixel by pixel.

A small classifier is trained on the training split, and its last hidden layer is the feature map,

    logits = W features(x) + b,      features: event -> R^width,

so two images count as near when they look like the same class drawn the same way. It takes seconds, depends on
the seed alone, and never sees the held-out data or any samples. Where the data have no labels, the same network
with random weights is used: a fixed projection which still tells distributions apart, but whose numbers mean
nothing beyond comparing models on the same data. `Judge.statement` says which of the two it is.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pushforward._errors import DataError, explain
from pushforward._random import Draw

if TYPE_CHECKING:
    from pushforward.data import Dataset


@dataclass(frozen=True, slots=True)
class Judge:
    """A feature map, and how well it knows the data.

    Args:
        body: event -> features.
        head: features -> logits, or None for a random projection.
        accuracy: share of the held-out data it classifies correctly, or None.
        statement: one sentence for the report: where the features come from.
    """

    body: nn.Module
    head: nn.Module | None
    accuracy: float | None
    statement: str

    def features(self, x: Tensor, chunk: int = 1024) -> Tensor:
        """Features of events in the model's units, [n, width], float32 on the CPU."""
        with torch.no_grad():
            return torch.cat([self.body(part.detach().cpu().float()) for part in x.split(chunk)])

    def predict(self, x: Tensor) -> Tensor:
        """The class of each event, [n]."""
        if self.head is None:
            fix = "Give the data labels (a folder per class, or a context)."
            raise DataError(explain("a judge trained on labels", "a random projection", fix))
        with torch.no_grad():
            return self.head(self.features(x)).argmax(1)


def judge(data: "Dataset", seed: int = 0) -> Judge:
    """The best judge the data allow: a classifier where they have labels, a random projection where not."""
    return train_judge(data, seed) if _labelled(data) else random_judge(data.shape, seed)


def random_judge(shape: tuple[int, ...], seed: int = 0, width: int = 64) -> Judge:
    """A fixed random projection of events of this shape, the same for every run with this seed."""
    statement = (
        f"The data have no labels, so features are {width} outputs of a network with fixed random weights "
        f"(seed {seed}): good for comparing models on these data, meaningless across data sets."
    )
    return Judge(_body(shape, width, Draw(seed, "judge")).requires_grad_(False), None, None, statement)


def train_judge(data: "Dataset", seed: int = 0, steps: int = 200, batch: int = 128, width: int = 64) -> Judge:
    """Train a small classifier on the training split.

    Args:
        data: a data set whose `context` holds one whole number per event.
        seed: all randomness: weights, batches, noise.
        steps: steps of AdamW with a cosine schedule.
        batch: events per step.
        width: number of features.

    Raises:
        DataError: the data have no labels.
    """
    if not _labelled(data) or data.context is None:
        fix = "Call random_judge(data.shape) instead."
        raise DataError(explain("data with one whole number per event as context", "none", fix))
    draw = Draw(seed, "judge")
    body = _body(data.shape, width, draw)
    head = _filled(nn.utils.skip_init(nn.Linear, width, int(data.context.max()) + 1), draw.of("head"))
    parameters = [*body.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=4e-3, weight_decay=0.05)
    stream = data.batches(min(batch, len(data.values)), draw.of("batch"))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1.0, (step + 1) / 10) * 0.5 * (1 + math.cos(math.pi * step / steps))
        part = next(stream)
        noise = draw.of("noise").at(step).normal(len(part.x), data.shape)
        assert part.context is not None
        logits = head(body(part.x.float() + 0.1 * noise))
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(logits, part.context.long(), label_smoothing=0.05).backward()
        optimizer.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
    return _graded(body, head, data, seed, width)


def _graded(body: nn.Module, head: nn.Module, data: "Dataset", seed: int, width: int) -> Judge:
    held = data.held_out_batch(Draw(seed, "judge/held out"))
    assert held.context is not None
    right = float((Judge(body, head, None, "").predict(held.x) == held.context.cpu()).double().mean())
    statement = (
        f"Features are the {width} hidden units of a small classifier trained on the training split (seed {seed}); "
        f"it classifies {right:.1%} of the held-out data correctly."
    )
    return Judge(body, head, right, statement)


def _labelled(data: "Dataset") -> bool:
    return data.context is not None and data.context.ndim == 1 and not data.context.is_floating_point()


def _body(shape: tuple[int, ...], width: int, draw: Draw) -> nn.Module:
    layers = list(_convolutions(shape, width) if len(shape) == 3 else _perceptron(shape, width))
    return nn.Sequential(*(_filled(layer, draw.of(f"layer {i}")) for i, layer in enumerate(layers)))


def _convolutions(shape: tuple[int, ...], width: int) -> Iterator[nn.Module]:
    """3x3 convolutions, halving the image until at most 4 pixels are left on a side."""
    channels, (height, breadth), hidden = shape[0], shape[1:], 16
    yield from _convolution(channels, hidden, 1)
    while max(height, breadth) > 4:
        yield from _convolution(hidden, min(2 * hidden, 128), 2)
        height, breadth, hidden = (height + 1) // 2, (breadth + 1) // 2, min(2 * hidden, 128)
    yield nn.Flatten()
    yield nn.utils.skip_init(nn.Linear, hidden * height * breadth, width)
    yield nn.SiLU()


def _convolution(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.utils.skip_init(nn.Conv2d, inputs, outputs, 3, stride=stride, padding=1), nn.SiLU()


def _perceptron(shape: tuple[int, ...], width: int) -> Iterator[nn.Module]:
    yield nn.Flatten()
    yield nn.utils.skip_init(nn.Linear, math.prod(shape), 128)
    yield nn.SiLU()
    yield nn.utils.skip_init(nn.Linear, 128, width)
    yield nn.SiLU()


def _filled(layer: nn.Module, draw: Draw) -> nn.Module:
    """The layer with weights of variance 2 / fan-in and small biases, from the draw and not from torch's state."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            noise = draw.of(name).normal(1, tuple(parameter.shape))[0]
            parameter.copy_(noise * (math.sqrt(2 / parameter[0].numel()) if parameter.ndim > 1 else 0.1))
    return layer
