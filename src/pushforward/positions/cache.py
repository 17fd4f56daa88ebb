"""Keys that are already in a cache, moved: to other positions, or to other frequencies.

Rotations compose, R_a R_b = R_{a+b}, so a key turned by pos theta_old becomes one turned by pos theta_new by
the difference

    k -> R(pos (theta_new - theta_old)) k,        k -> R(by theta) k  for a shift,

one pass over the cache instead of its recomputation: when dynamic NTK or LongRoPE change frequencies as the text
grows, when tokens are evicted from the front, when a document is spliced in elsewhere. Differences are taken between
whole numbers (`spectrum.py`), so what is left is the rounding of one more rotation. Amplitudes are exchanged too.
"""

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._typing import Heads
from pushforward.positions.rotary import Phased
from pushforward.positions.rotation import kept, rotate_
from pushforward.positions.spectrum import paired, turns_of


def rerotate_(k: Heads, pos: Tensor, old: Phased, new: Phased) -> Heads:
    """Cached keys of one encoding become those of another, in place.

    Args:
        k: keys [batch, heads, tokens, features], rotated by `old` at `pos`.
        pos: their positions, [*batch, tokens] or [*batch, tokens, axes].
        old: the encoding they were made with.
        new: the encoding that queries will have; it turns as many pairs, in the same layout.

    Returns:
        k.

    Raises:
        ConfigError: they do not turn the same pairs, or one repeats float32 tables, whose rounding stays.

    >>> from dataclasses import replace
    >>> from pushforward.positions import DynamicNTK, Rotary
    >>> old = Rotary(extension=DynamicNTK(2.0, trained=8, length=8))
    >>> new = replace(old, extension=replace(old.extension, length=16))
    >>> x, pos = torch.randn(1, 1, 5, 8), torch.arange(5)
    >>> _, k = old.rotate(x, x, pos, pos)
    >>> torch.allclose(rerotate_(k, pos, old, new), new.rotate(x, x, pos, pos)[1], atol=1e-6)
    True
    """
    before, after = old.spectrum(k.shape[-1]), new.spectrum(k.shape[-1])
    if old.layout != new.layout or old.properties.axes != new.properties.axes:
        raise ConfigError(explain("two encodings of one layout and as many axes", f"{old} and {new}", "Change one."))
    if "float32" in (before.precision, after.precision):
        raise ConfigError(explain("encodings with precision 'exact'", "'float32'", "Recompute the keys."))
    if before.amplitude == 0:
        raise ConfigError(explain("an amplitude other than 0", "0", "Such keys are gone; recompute them."))
    if before.axis != after.axis or turns_of(before.rows).shape != turns_of(after.rows).shape:
        raise ConfigError(explain("as many pairs, on the same axes", f"{old} and {new}", "Recompute the keys."))
    return _turned(k, after.phases(pos, less=before), after.amplitude / before.amplitude, new)


def shift_(k: Heads, by: Tensor | int | float, encoding: Phased) -> Heads:
    """Cached keys move by a distance, in place.

    Args:
        k: keys [batch, heads, tokens, features], rotated by `encoding` at any positions.
        by: the distance, one for all, or broadcastable to their positions ([batch, 1] moves each sequence by its own;
            on grids the last axis is the coordinates).
        encoding: what they were rotated by.

    Returns:
        k, as if it had been rotated at `pos + by`.
    """
    spectrum = encoding.spectrum(k.shape[-1])
    by = torch.as_tensor(by, device=k.device)
    if not spectrum.axis and by.ndim == 0:
        by = by[None]
    return _turned(k, spectrum.phases(by[None] if spectrum.axis and by.ndim == 1 else by), 1.0, encoding)


def _turned(k: Tensor, phases: Tensor, amplitude: float, encoding: Phased) -> Tensor:
    cos, sin = paired(phases.cos() * amplitude, phases.sin() * amplitude, kept(k.dtype))
    return rotate_(k, cos.unsqueeze(-3), sin.unsqueeze(-3), encoding.layout)
