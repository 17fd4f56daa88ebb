"""Compiled splines of tensors: of numbers with parameters of their own, and of some numbers of each event."""

from typing import Any

import numpy as np
from torch import Tensor

from pushforward.transforms.compiled import axes_of, strides_of
from pushforward.transforms.compiled.functions import fast, flat, in_rows, real
from pushforward.transforms.compiled.rational import fill, fill_gradients
from pushforward.transforms.splines import Layout


def mapped(x: Tensor, params: Tensor, layout: Layout, inverse: bool) -> tuple[Tensor, Tensor]:
    """(value, ladj) [*] of numbers [*] and parameters [*, size]."""
    axes, n = axes_of(params), x.numel()
    strides, found = strides_of(x.shape, axes), params.new_empty(2, n)
    fill(in_rows(params, axes), flat(x, axes), *_numbers(layout), inverse, *found.numpy())
    return found.as_strided(x.shape, strides), found.as_strided(x.shape, strides, n)


def pulled(x: Tensor, params: Tensor, g: Tensor, u: Tensor, layout: Layout, inverse: bool) -> tuple[Tensor, Tensor]:
    """Gradients of numbers and parameters, of those of value and ladj; x is the number on the data side."""
    axes, n = axes_of(params), x.numel()
    strides, to_x, grad = strides_of(x.shape, axes), params.new_empty(n), params.new_empty(params.shape[-1], n)
    numbers = (flat(each, axes) for each in (x, g, u))
    fill_gradients(in_rows(params, axes), *numbers, *_numbers(layout), inverse, to_x.numpy(), grad.numpy())
    return to_x.as_strided(x.shape, strides), grad.as_strided(params.shape, (*strides, n))


def coupled(x: Tensor, params: Tensor, places: Tensor, layout: Layout, inverse: bool) -> tuple[Tensor, Tensor]:
    """(z [batch, n], ladj [batch]) of events, parameters [batch, changed, size] and the places of what changes."""
    z, ladj, rows = params.new_empty(x.shape), params.new_empty(len(x)), in_rows(params, _ALONG)
    events, where = _array(x), places.numpy()
    number = _gathered(events, where)
    logs = np.empty_like(number)
    fill(rows, number, *_numbers(layout), inverse, number, logs)
    _put(events, where, number, z.numpy())
    _add(logs, ladj.numpy())
    return z, ladj


def uncoupled(
    x: Tensor, params: Tensor, places: Tensor, g: Tensor, u: Tensor, layout: Layout, inverse: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of events and parameters, of those of z and ladj; x is the event on the data side."""
    to_x, grad, rows = params.new_empty(x.shape), params.new_empty(params.shape[::-1]), in_rows(params, _ALONG)
    events, where = _array(g), places.numpy()
    number, to_number, to_logs = _gathered(_array(x), where), _gathered(events, where), np.tile(_array(u), len(where))
    flat_grad = grad.flatten(1).numpy()
    fill_gradients(rows, number, to_number, to_logs, *_numbers(layout), inverse, to_number, flat_grad)
    _put(events, where, to_number, to_x.numpy())
    return to_x, grad.permute(2, 1, 0)


_ALONG = (1, 0)
"""Numbers one after the other, each along the batch."""


@fast
def _gathered(x: Any, places: Any) -> Any:
    """The numbers of events [batch, n] at these places, along the batch."""
    found = np.empty(len(places) * len(x), real)
    for k in range(len(places)):
        place, part = places[k], found[k * len(x) : (k + 1) * len(x)]
        if place < 0 or place >= x.shape[1]:
            raise IndexError("a place beyond the event")
        for i in range(len(x)):
            part[i] = x[i, place]
    return found


@fast
def _put(x: Any, places: Any, number: Any, z: Any) -> None:
    """Events with other numbers at these places, which `_gathered` has looked at, into z."""
    for i in range(len(x)):
        for j in range(x.shape[1]):
            z[i, j] = x[i, j]
    for k in range(len(places)):
        place, part = places[k], number[k * len(x) : (k + 1) * len(x)]
        for i in range(len(x)):
            z[i, place] = part[i]


@fast
def _add(logs: Any, ladj: Any) -> None:
    """What the numbers of each event add up to."""
    total, batch = np.zeros(len(ladj)), len(ladj)
    for start in range(0, len(logs), max(batch, 1)):
        part = logs[start : start + batch]
        for i in range(batch):
            total[i] += part[i]
    for i in range(batch):
        ladj[i] = total[i]


def _array(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().numpy())


def _numbers(layout: Layout) -> tuple[tuple[int, float, float, float], tuple[int, int]]:
    bins, low, high, least, slopes = layout
    return (bins, float(low), float(high), least), (slopes[0], slopes[-1])
