"""The conditioner of Transformer flows: parameters for the numbers of a patch, from the patches before it.

    h_t = U x_t + c,      c = start + embed(context)       patches in an order, first to last
    h   <- h + attention(norm(h)),   h <- h + network(norm(h))        causal, any position encoding
    parameters of patch t + 1 = W h_t            of the first: V c

A patch stands at its own position, whatever the order, and what it says is about the next patch of that order. The
walk of sampling computes each patch once: its keys and values are kept, unturned, and meet every later query through
the hooks of the encoding, so each encoding that attention can use can be sampled with.

References:
    Zhai et al. 2024, arXiv 2412.06329 (TarFlow).
"""

import math

import torch
from torch import Tensor, nn

from pushforward._classes import indices
from pushforward._typing import Context, Heads, Tokens
from pushforward.nets.attention import Attention, Placed, attend, place
from pushforward.nets.condition import zero
from pushforward.nets.conditioners import check_context
from pushforward.nets.derivatives import normalise
from pushforward.nets.masked import Walk
from pushforward.nets.transformer import Transformer, patches
from pushforward.positions import Embeds, Position, Unordered


class CausalTransformer(nn.Module):
    """A causal network over the patches of an image, or the tokens of a sequence, for `transforms.Autoregressive`.

    Args:
        shape: the event's shape, (channels, rows, columns) or (tokens, features).
        outputs: parameters for each number.
        position, width, layers, heads, patch, expansion: as in `Transformer`.
        backwards: from the last patch to the first.
        classes: number of classes context may name; no context, or index `classes`, means "no class".
        context: length of a context vector instead, 0 for none; no context is a vector of zeros.

    Raises:
        ConfigError: what `Transformer` refuses.

    >>> net = CausalTransformer((1, 4, 4), 2, width=16, layers=1, heads=2, patch=2)
    >>> net(torch.randn(3, 16)).shape, net.sizes
    (torch.Size([3, 16, 2]), (4, 4, 4, 4))
    """

    order: Tensor

    def __init__(
        self, shape: tuple[int, ...], outputs: int, position: Position | None = None, width: int = 128,
        layers: int = 4, heads: int = 4, patch: int | None = None, *, backwards: bool = False, classes: int = 0,
        context: int = 0, expansion: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        laid = Transformer(shape, position, width, 0, heads, patch, causal=True)  # for what it finds out about patches
        self.position, self.outputs, self.heads, self.width = laid.position, outputs, heads, width
        places = torch.arange(math.prod(shape)).reshape(1, *shape)
        places = patches(places, laid.patch)[0] if len(shape) == 3 else places[0]
        pos = laid.positions()
        if backwards:
            places, pos = places.flip(0), pos.flip(0)
        self.sizes = (places.shape[1],) * len(places)
        self.register_buffer("order", places.flatten())
        self.register_buffer("places", pos)
        self.enter = nn.Linear(places.shape[1], width, bias=False)
        self.start = nn.Parameter(0.02 * torch.randn(width))
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.vector = nn.Linear(context, width, bias=False) if context else None
        self.blocks = nn.ModuleList(CausalBlock(width, heads, expansion) for _ in range(layers))
        self.leave = zero(nn.Linear(width, places.shape[1] * outputs))
        self.first = zero(nn.Linear(width, places.shape[1] * outputs))

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """Parameters [batch, n, outputs] of flat events [batch, n]."""
        return self.placed(x.index_select(1, self.order), context).index_select(1, self.order.argsort())

    def placed(self, x: Tensor, context: Context = None) -> Tensor:
        """The same with numbers and parameters in the order of their places, `order`."""
        told, pos = self._told(len(x), context), self._positions()[:-1]
        h = self._embedded(x.unflatten(1, (len(self.sizes), -1))[:, :-1], told, pos)
        placed = place(self.position, pos, self.width // self.heads, h.dtype)
        for block in self.blocks:
            h = block(h, placed)
        parts = torch.cat([self.first(told)[:, None], self.leave(normalise(h))], 1)
        return parts.reshape(len(x), x.shape[1], self.outputs)

    def walk(self, n: int, context: Context = None) -> Walk:
        """The parameters of each patch in turn, [n, numbers, outputs], given the patch before by `send`."""
        told, pos = self._told(n, context).detach(), self._positions()
        kept, entered = [_Kept(self.position, pos) for _ in self.blocks], list[Tensor]()
        x = yield self.first(told).detach().unflatten(1, (-1, self.outputs))
        for t in range(1, len(self.sizes)):
            with torch.no_grad():
                entered.append(self.enter(x[:, None]) + told[:, None])
                seen = entered if self.position.properties.reads == "past" else entered[-1:]
                h = self._marked(torch.cat(seen, 1), pos[t - len(seen) : t])[:, -1:]
                for block, each in zip(self.blocks, kept, strict=True):
                    h = block(h, each)
                raw = self.leave(normalise(h[:, 0])).unflatten(1, (-1, self.outputs))
            x = yield raw

    def _embedded(self, x: Tensor, told: Tensor, pos: Tensor) -> Tokens:
        return self._marked(self.enter(x) + told[:, None], pos)

    def _marked(self, h: Tokens, pos: Tensor) -> Tokens:
        return self.position.embed(h, pos) if isinstance(self.position, Embeds) else h

    def _positions(self) -> Tensor:
        return self.get_buffer("places")

    def _told(self, n: int, context: Context) -> Tensor:
        """What every patch is told, [batch, width]."""
        told = self.start.expand(n, self.width)
        if self.label is not None:
            none = torch.full((n,), self.label.num_embeddings - 1, device=told.device)
            return told + self.label(none if context is None else indices(context))
        if context is None:
            return told
        check_context(context, 0 if self.vector is None else self.vector.in_features)
        return told if self.vector is None else told + self.vector(context.to(told.dtype))


class CausalBlock(nn.Module):
    """Attention and a two-layer network, each behind a norm; as a whole or, given what is kept, for the last patch."""

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, Unordered(), causal=True)  # given `placed`
        self.network = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def forward(self, h: Tokens, seen: "Placed | _Kept") -> Tokens:
        if isinstance(seen, Placed):
            h = h + self.attention(normalise(h), seen.pos, placed=seen)
        else:
            q, k, v = self.attention.qkv(normalise(h)).chunk(3, -1)
            split = (part.unflatten(-1, (self.attention.heads, -1)).transpose(1, 2) for part in (q, k, v))
            h = h + self.attention.out(seen.attend(*split).transpose(1, 2).flatten(2))
        return h + self.network(normalise(h))


class _Kept:
    """The keys and values of one layer so far, before any turning."""

    def __init__(self, position: Position, pos: Tensor) -> None:
        self.position, self.pos, self.count = position, pos, 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def attend(self, q: Heads, k: Heads, v: Heads) -> Heads:
        """What the newest token, [batch, heads, 1, features], hears from all, after it joined them."""
        if self.keys is None or self.values is None:
            room = (*k.shape[:2], len(self.pos), k.shape[3])
            self.keys, self.values = k.new_empty(room), v.new_empty(room)
        self.keys[:, :, self.count], self.values[:, :, self.count] = k[:, :, 0], v[:, :, 0]
        self.count += 1
        k, v, pos = self.keys[:, :, : self.count], self.values[:, :, : self.count], self.pos[: self.count]
        return attend(q, k, v, place(self.position, pos[-1:], q.shape[-1], q.dtype, pos))
