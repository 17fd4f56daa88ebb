"""Rotary positions with several coordinates: images, volumes, video, and text that runs through pictures.

    Axial       each axis has its own share of the features and its own row of frequencies
    Multimodal  one row of frequencies, dealt out between time, height and width (M-RoPE)
    Mixed       every pair follows a direction of its own, phase = <pos, theta_hc>, learned per head

Scores depend on the difference of positions, a vector. With one coordinate fixed, the rest of `Axial` is exactly the
sequence on its slice; with equal coordinates, `Multimodal` is exactly `Rotary`. Coordinates may be fractional, so that
a net trained on 16 x 16 tokens can be asked for 32 x 32 on the same square.

References: Heo et al. 2024, arXiv 2403.13298 (axial, base 100; mixed); Wang et al. 2024, Qwen2-VL, arXiv 2409.12191
(M-RoPE); Su et al. 2021, arXiv 2104.09864.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward.positions.arithmetic import Precision
from pushforward.positions.extension import Extension, Plain
from pushforward.positions.layout import Layout, check_layout
from pushforward.positions.position import Properties, Rotates, Rotation
from pushforward.positions.rotary import Phased, check_base, check_precision
from pushforward.positions.rotation import Turn
from pushforward.positions.spectrum import Spectrum, widest


@dataclass(frozen=True, slots=True)
class Axial(Phased):
    """Rotary positions on a grid: the features of a head are shared out between the axes.

    Positions are [*batch, tokens, axes], whole or fractional. With one coordinate fixed, the slice of the
    other axis is exactly `Rotary` with the same base.

    Args:
        base: frequencies of each axis run from 1 down to about 1/base radians per unit of its coordinate.
        axes: how many coordinates a position has: 2 for images, 3 for volumes or video.
        layout: which features make a pair (across the whole head).
        sizes: features of each axis, if not equal shares; Flux has (16, 56, 56).
        extension: how frequencies change for larger grids.
        precision: see `Rotary`.

    References:
        Heo et al. 2024, arXiv 2403.13298.
    """

    base: float = 100.0
    axes: int = 2
    layout: Layout = "interleaved"
    sizes: tuple[int, ...] = ()
    extension: Extension = Plain()
    precision: Precision = "exact"

    def __post_init__(self) -> None:
        check_base(self.base)
        check_layout(self.layout)
        check_precision(self.precision)
        if self.axes < 1:
            raise ConfigError(explain("at least 1 axis", str(self.axes), "Use axes=2 for images."))
        if self.sizes and (len(self.sizes) != self.axes or any(size < 2 or size % 2 for size in self.sizes)):
            raise ConfigError(explain(
                f"an even number of features for each of {self.axes} axes", f"sizes={self.sizes}",
                "They come in pairs.",
            ))  # fmt: skip

    @property
    def properties(self) -> Properties:
        plain = self.extension.amplitude == 1
        return Properties(relative=True, axes=self.axes, isometric=plain, composes=plain)

    def spectrum(self, features: int) -> Spectrum:
        sizes = self.sizes or (features // self.axes,) * self.axes
        if sum(sizes) > features or (not self.sizes and features % (2 * self.axes)):
            raise ConfigError(explain(
                f"a head of {sum(sizes)} features for sizes={sizes}" if self.sizes else
                f"a head size divisible by {2 * self.axes}: pairs of features for each of {self.axes} axes",
                f"{features}", "Change width or heads.",
            ))  # fmt: skip
        rows = tuple((self.base, size, self.extension) for size in sizes)
        axis = tuple(a for a, size in enumerate(sizes) for _ in range(size // 2))
        return Spectrum(rows, axis, self.extension.amplitude, self.precision)


@dataclass(frozen=True, slots=True)
class Multimodal(Phased):
    """M-RoPE: one row of frequencies, dealt out between time, height and width.

    Text stands at (t, t, t), an image at (t, t + row, t + column), and text after it at its largest coordinate + 1.

    Args:
        sections: pairs of each axis; Qwen2-VL has (16, 24, 24), Qwen3-VL (24, 20, 20) interleaved.
        interleaved: deal pairs out in turn (0, 1, 2, 0, 1, 2, ...) until an axis has its share, not in blocks.
        base: frequencies run from 1 down to about 1/base.
        layout: which features make a pair.
        extension: how frequencies change for a longer context.
        precision: see `Rotary`.

    References:
        Wang et al. 2024, arXiv 2409.12191.
    """

    sections: tuple[int, ...] = (16, 24, 24)
    interleaved: bool = False
    base: float = 10_000.0
    layout: Layout = "interleaved"
    extension: Extension = Plain()
    precision: Precision = "exact"

    def __post_init__(self) -> None:
        check_base(self.base)
        check_layout(self.layout)
        check_precision(self.precision)
        if not self.sections or min(self.sections) < 1:
            raise ConfigError(explain("at least one pair for every axis", f"{self.sections}", "Leave the axis out."))

    @property
    def properties(self) -> Properties:
        plain = self.extension.amplitude == 1
        return Properties(relative=True, axes=len(self.sections), isometric=plain, composes=plain)

    def spectrum(self, features: int) -> Spectrum:
        if 2 * sum(self.sections) > features:
            raise ConfigError(explain(
                f"a head of {2 * sum(self.sections)} features for sections {self.sections}", f"{features}",
                "Sections count pairs; make them smaller.",
            ))  # fmt: skip
        row = (self.base, 2 * sum(self.sections), self.extension)
        return Spectrum((row,), self._axis(), self.extension.amplitude, self.precision)

    def _axis(self) -> tuple[int, ...]:
        axes, pairs = len(self.sections), sum(self.sections)
        if not self.interleaved:
            return tuple(a for a, section in enumerate(self.sections) for _ in range(section))
        return tuple(c % axes if c < axes * self.sections[c % axes] else 0 for c in range(pairs))


class Mixed(nn.Module, Rotates):
    """Rotary positions with learned frequencies, one vector of them for every pair of every head.

    With one axis these are learned frequencies of a sequence, which start as those of `Rotary`; with two, pairs start
    in perpendicular directions turned by a random angle per head; with more, in random directions. Keep the parameter
    out of weight decay, which would pull all positions together.

    Args:
        heads: how many heads.
        features: the size of one.
        axes: how many coordinates a position has.
        base: frequencies start between 1 and about 1/base radians per unit.
        layout: which features make a pair.

    References:
        Heo et al. 2024, arXiv 2403.13298 (axes 2, base 10).
    """

    def __init__(
        self, heads: int, features: int, axes: int = 2, base: float = 10.0, layout: Layout = "interleaved"
    ) -> None:
        super().__init__()
        check_base(base)
        check_layout(layout)
        group = 2 if axes == 2 else 1
        if axes < 1 or features % (2 * group) or features < 2:
            raise ConfigError(explain(
                f"a head size divisible by {2 * group} and at least 1 axis", f"features={features}, axes={axes}",
                "Change width or heads.",
            ))  # fmt: skip
        self.axes: int = axes
        self.layout: Layout = layout
        size = base ** (-2.0 * group / features * torch.arange(features // (2 * group)))
        self.theta = nn.Parameter(size.repeat(group) * _directions(axes, heads, features // 2))

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, axes=self.axes, isometric=True, composes=True)

    def rotation(self, pos_q: Tensor, pos_k: Tensor, features: int, dtype: torch.dtype) -> Rotation:
        phases_q = self._phases(pos_q)
        return Turn.by(phases_q, phases_q if pos_k is pos_q else self._phases(pos_k), self.layout, dtype)

    def _phases(self, pos: Tensor) -> Tensor:
        """<pos, theta_hc>, [*batch, heads, tokens, pairs]."""
        pos = pos.unsqueeze(-1) if self.axes == 1 else pos
        if pos.ndim < 2 or pos.shape[-1] != self.axes:
            raise ShapeError(explain(
                f"positions [*batch, tokens, {self.axes}]", f"shape {list(pos.shape)}",
                "Pass one coordinate per axis (see positions.grid).",
            ))  # fmt: skip
        wide = widest(pos.device)
        return torch.einsum("...ta,ahp->...htp", pos.to(wide), self.theta.to(wide))


def _directions(axes: int, heads: int, pairs: int) -> Tensor:
    """Unit vectors to start from, [axes, heads, pairs]."""
    if axes == 1:
        return torch.ones(1, heads, pairs)
    if axes == 2:
        angle = 2 * math.pi * torch.rand(heads, 1) + math.pi / 2 * torch.arange(pairs).div(pairs // 2).floor()
        return torch.stack([angle.cos(), angle.sin()])
    return nn.functional.normalize(torch.randn(axes, heads, pairs), dim=0)
