"""Compiled splines of tensors: of numbers with parameters of their own, and of some numbers of each event."""

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pushforward.transforms.compiled import axes_of, strides_of
from pushforward.transforms.compiled.functions import fast, flat, in_rows, real
from pushforward.transforms.compiled.rational import fill, fill_gradients

if TYPE_CHECKING:
    from pushforward.transforms.rational import Layout


def mapped(x: Tensor, params: Tensor, layout: "Layout", inverse: bool) -> tuple[Tensor, Tensor]:
    """(value, ladj) [*] of numbers [*] and parameters [*, size]."""
    axes, n = axes_of(params), x.numel()
    strides, found = strides_of(x.shape, axes), params.new_empty(2, n)
    fill(in_rows(params, axes), flat(x, axes), *_numbers(layout), inverse, *found.numpy())
    return found.as_strided(x.shape, strides), found.as_strided(x.shape, strides, n)


def pulled(x: Tensor, params: Tensor, g: Tensor, u: Tensor, layout: "Layout", inverse: bool) -> tuple[Tensor, Tensor]:
    """Gradients of numbers and parameters, of those of value and ladj; x is the number on the data side."""
    axes, n = axes_of(params), x.numel()
    strides, to_x, grad = strides_of(x.shape, axes), params.new_empty(n), params.new_empty(params.shape[-1], n)
    numbers = (flat(each, axes) for each in (x, g, u))
    fill_gradients(in_rows(params, axes), *numbers, *_numbers(layout), inverse, to_x.numpy(), grad.numpy())
    return to_x.as_strided(x.shape, strides), grad.as_strided(params.shape, (*strides, n))


def coupled(x: Tensor, params: Tensor, places: Tensor, layout: "Layout", inverse: bool) -> tuple[Tensor, Tensor]:
    """(z [batch, n], ladj [batch]) of events, parameters [batch, changed, size] and the places of what changes."""
    z, ladj = params.new_empty(x.shape), params.new_empty(len(x))
    rows = in_rows(params, _ALONG)
    _couple(rows, _array(x), places.numpy(), *_numbers(layout), inverse, z.numpy(), ladj.numpy())
    return z, ladj


def uncoupled(
    x: Tensor, params: Tensor, places: Tensor, g: Tensor, u: Tensor, layout: "Layout", inverse: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of events and parameters, of those of z and ladj; x is the event on the data side."""
    to_x, grad = params.new_empty(x.shape), params.new_empty(params.shape[::-1])
    rows, events = in_rows(params, _ALONG), (_array(each) for each in (x, g, u))
    flat_grad = grad.flatten(1).numpy()
    _uncouple(rows, *events, places.numpy(), *_numbers(layout), inverse, to_x.numpy(), flat_grad)
    return to_x, grad.permute(2, 1, 0)


_ALONG = (1, 0)
"""Numbers one after the other, each along the batch."""


@fast
def _couple(rows: Any, x: Any, places: Any, layout: Any, ends: Any, inverse: Any, z: Any, ladj: Any) -> None:
    number, logs, total = _gathered(x, places), np.empty(len(places) * len(x), real), np.zeros(len(x))
    fill(rows, number, layout, ends, inverse, number, logs)
    _put(x, number, places, z)
    for k in range(len(places)):
        part = logs[k * len(x) : (k + 1) * len(x)]
        for i in range(len(x)):
            total[i] += part[i]
    for i in range(len(x)):
        ladj[i] = total[i]


@fast
def _uncouple(
    rows: Any, x: Any, g: Any, u: Any, places: Any, layout: Any, ends: Any, inverse: Any, to_x: Any, grad: Any
) -> None:
    number, to_number, to_logs = _gathered(x, places), _gathered(g, places), np.empty(len(places) * len(x), real)
    for k in range(len(places)):
        part = to_logs[k * len(x) : (k + 1) * len(x)]
        for i in range(len(x)):
            part[i] = u[i]
    fill_gradients(rows, number, to_number, to_logs, layout, ends, inverse, to_number, grad)
    _put(g, to_number, places, to_x)


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
def _put(x: Any, number: Any, places: Any, z: Any) -> None:
    """Events with other numbers at these places, which have been looked at."""
    z[:] = x
    for k in range(len(places)):
        place, part = places[k], number[k * len(x) : (k + 1) * len(x)]
        for i in range(len(x)):
            z[i, place] = part[i]


def _array(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().numpy())


def _numbers(layout: "Layout") -> tuple[tuple[int, float, float, float], tuple[int, int]]:
    bins, low, high, least, slopes = layout
    return (bins, float(low), float(high), least), (slopes[0], slopes[-1])
