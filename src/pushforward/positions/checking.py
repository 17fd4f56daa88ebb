"""Numerical proofs of what a position encoding promises, ours or yours.

The encoding is copied, cast to float64 and its parameters are moved away from their start (some start at zero, where
they would prove nothing). Random tokens go through it and through attention (`bench.py`), and each property is an
equation between two such runs: at shifted positions, in another order in memory, packed in one row and alone, with
padding and without, the last tokens against cached keys and all at once, in shards and whole, in low precision and in
float64. Derivatives are compared with differences.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, PushforwardError, explain
from pushforward._random import Draw
from pushforward.positions.bench import Attend, Bench, shaken
from pushforward.positions.coordinates import packed, padded
from pushforward.positions.placed import attention, place
from pushforward.positions.position import Biases, Embeds, Position, Rotates, Scores, Values
from pushforward.positions.proof import Check, Proof

LIMIT = 1e-9
"""Two runs in float64 that should be the same may differ so much."""

ROUNDINGS = 32
"""Low precision may add up so many roundings."""

FAR = 1_000
"""Positions that far on are beyond what an encoding was trained on."""


def check_encoding(
    encoding: Position,
    tokens: int = 7,
    width: int = 48,
    heads: int = 4,
    attend: Attend = attention,
    raises: bool = False,
) -> Proof:
    """Prove each property of an encoding, its own `Properties` and what all encodings must keep.

    Args:
        encoding: any encoding, also one's own; it is not changed.
        tokens: how many tokens to try, at least 5; positions run from 0 to tokens - 1 (grids have rows of 3).
        width: size of a token.
        heads: heads of attention; they divide the width.
        attend: the attention to prove it with.
        raises: raise if a promise is broken, as `Proof.demand` does.

    Returns:
        A `Proof`, which prints as a table.

    Raises:
        PushforwardError: the encoding is not for tokens of this number, width or heads; or `raises`, and a promise is
            broken.

    >>> from pushforward.positions import Rotary
    >>> check_encoding(Rotary()).ok
    True
    """
    if tokens < 5 or width % heads:
        raise ConfigError(explain(
            "at least 5 tokens and a width divisible by heads", f"tokens={tokens}, width={width}, heads={heads}",
            "Use the defaults.",
        ))  # fmt: skip
    bench = Bench(shaken(encoding), attend, tokens, width, heads)
    bench.run(bench.x, bench.pos)  # an encoding of another size says so here
    checks = [check for prove in _PROOFS for check in _answered(prove, bench)]
    proof = Proof(type(encoding).__name__, tuple(checks))
    if raises:
        proof.demand()
    return proof


def _answered(prove: "_Prove", bench: Bench) -> list[Check]:
    """The checks, or one that failed where the encoding refuses what it promised to take."""
    try:
        return prove(bench)
    except PushforwardError:
        return [Check(f"refused: {prove.__doc__}", True, False, float("inf"), 0.0)]


def _equal(name: str, a: Tensor, b: Tensor, promised: bool = True, limit: float = LIMIT) -> Check:
    error = float((a.detach() - b.detach()).abs().max())
    return Check(name, promised, error <= limit, error, limit)


def _accepted(name: str, call: Callable[[], Tensor], promised: bool) -> Check:
    """Whether a call is answered with finite numbers or refused with an error of ours; other errors are bugs."""
    try:
        error = 0.0 if bool(call().isfinite().all()) else float("nan")
    except PushforwardError:
        error = float("inf")
    return Check(name, promised, error == 0, error, 0.0)


def _shifts(b: Bench) -> list[Check]:
    """Positions that shift together"""
    p, pos, x = b.position.properties, b.pos[:-2], b.x[:, :-2]
    here = b.run(x, pos)
    checks = [_equal("a common shift is not seen", here, b.run(x, pos + 2), p.relative)]
    if p.relative and p.extrapolates:
        checks.append(_equal("a shift by a million neither", here, b.run(x, pos + 1_000_000), limit=1e-8))
    return checks


def _ranges(b: Bench) -> list[Check]:
    """Positions beyond training and between whole ones"""
    p = b.position.properties
    return [
        _accepted("positions never trained on", lambda: b.run(b.x, b.pos + FAR), p.extrapolates),
        _accepted("fractional positions", lambda: b.run(b.x[:, :-1], b.pos[:-1] + 0.5), p.fractional),
    ]


def _orders(b: Bench) -> list[Check]:
    """Tokens in another order"""
    if b.position.properties.reads != "self":
        return []
    order = Draw(0).of("order").permutation(b.tokens)
    mask = b.past[order][:, order]
    past = b.mix(b.embedded(b.x, b.pos), b.pos, b.past)[:, order]
    moved = b.mix(b.embedded(b.x[:, order], b.pos[order]), b.pos[order], mask)
    checks = [_equal("order in memory does not matter", moved, past)]
    if not b.position.properties.causal_only:
        roll = torch.arange(b.tokens).roll(1)
        hooked = isinstance(b.position, Embeds | Rotates | Biases | Scores | Values)
        error = float((b.run(b.x[:, roll], b.pos) - b.run(b.x, b.pos)[:, roll]).detach().abs().max())
        checks.append(Check("the order is seen", hooked, error > LIMIT, error, LIMIT))
    return checks


def _sequences(b: Bench) -> list[Check]:
    """Several sequences"""
    x, pos, short = b.x, b.pos, b.tokens // 2
    lengths = [short, b.tokens - short]
    where, together = packed(lengths)
    alone = torch.cat([b.run(part, pos[: part.shape[1]]) for part in x.split(lengths, 1)], 1)
    where_left, left = padded([short, b.tokens], b.tokens)
    with_padding = b.run(x, pos[where_left], left)
    other = pos[:-1].flip(0) if b.position.properties.reads == "self" else pos[1:]
    rows = b.run(x[:, 1:], torch.stack([pos[:-1], other]))
    one_by_one = [b.run(x[:1, 1:], pos[:-1]), b.run(x[1:, 1:], other)]
    return [
        _equal("packed is separate", b.run(x, pos[where], together), alone),
        _equal("left-padded is unpadded", with_padding[:1, -short:], b.run(x[:1, -short:], pos[:short])),
        _equal("left-padded beside unpadded", with_padding[1:], b.run(x[1:], pos)),
        _equal("positions differ between rows", rows, torch.cat(one_by_one)),
    ]


def _pieces(b: Bench) -> list[Check]:
    """Tokens in pieces"""
    if b.position.properties.reads != "self":
        return []
    whole = b.mix(b.embedded(b.x, b.pos), b.pos, b.past)
    cut = [slice(0, 3), slice(3, b.tokens - 1), slice(b.tokens - 1, b.tokens)]
    h = torch.cat([b.embedded(b.x[:, part], b.pos[part]) for part in cut], 1)
    shards = torch.cat([b.mix(h, b.pos, b.past, part) for part in cut], 1)
    cached = [b.mix(h[:, : n + 1], b.pos[: n + 1], None, slice(n, n + 1)) for n in range(b.tokens)]
    where, mask = padded([b.tokens // 2, b.tokens], b.tokens)
    pos, mask, last = b.pos[where], mask & b.past, slice(b.tokens - 1, b.tokens)
    h = b.embedded(b.x, pos)
    return [
        _equal("shards are the whole", shards, whole),
        _equal("cached is all at once", torch.cat(cached, 1), whole),
        _equal("caches have offsets of their own", b.mix(h, pos, mask, last), b.mix(h, pos, mask)[:, last]),
    ]


def _leaks(b: Bench) -> list[Check]:
    """What comes from the future"""
    x = b.x.requires_grad_()
    out = b.mix(b.embedded(x, b.pos), b.pos, b.past)
    middle = b.tokens // 2
    (gradient,) = torch.autograd.grad(out[:, middle].sum(), x)
    error = float(gradient[:, middle + 1 :].abs().max())
    return [Check("the future does not leak", b.position.properties.reads != "around", error == 0, error, 0.0)]


def _turns(b: Bench) -> list[Check]:
    """Queries and keys turned"""
    if not isinstance(b.position, Rotates):
        return []
    p, pos = b.position.properties, b.pos
    q, k, _ = b.heads_of(b.x)
    turned = b.position.rotate(q, k, pos, pos)
    checks: list[Check] = []
    if p.isometric:
        checks += [_equal("turns keep norms", z.norm(dim=-1), y.norm(dim=-1)) for z, y in zip(turned, (q, k))]
    if p.composes:
        twice = b.position.rotate(*turned, pos + 1, pos + 1)
        once = b.position.rotate(q, k, 2 * pos + 1, 2 * pos + 1)
        checks += [_equal("turns add up", z, y) for z, y in zip(twice, once)]
    return checks


def _structure(b: Bench) -> list[Check]:
    """What an encoding is made of"""
    p, position = b.position.properties, b.position
    scored = isinstance(position, Biases | Scores | Values)
    checks = [Check("scores are never formed", p.linear_attention, not scored, float(scored), 0.0)]
    inputs = [b.x, *b.heads_of(b.x)]
    before = [each.clone() for each in inputs]
    b.embedded(inputs[0], b.pos)
    b.attend(inputs[1], inputs[2], inputs[3], place(position, b.pos, b.width // b.heads, b.x.dtype), b.causal)
    checks.append(_equal("inputs are not changed", torch.stack([(x - y).abs().max() for x, y in zip(inputs, before)]),
                         torch.zeros(()), limit=0.0))  # fmt: skip
    if isinstance(position, Biases):
        bias = position.bias(b.pos, b.pos)
        checks.append(_equal("a bias of the distance alone", bias[..., 1:, 1:], bias[..., :-1, :-1], p.toeplitz))
    if isinstance(position, nn.Module):
        hidden = sum(buffer.is_floating_point() or buffer.is_complex() for buffer in position.buffers())
        checks.append(Check("nothing hides in buffers", True, not hidden, float(hidden), 0.0))
    return checks


def _derivatives(b: Bench) -> list[Check]:
    """Derivatives"""
    x = b.x[:1].requires_grad_()
    parameters = list(b.position.parameters()) if isinstance(b.position, nn.Module) else []

    def run(*_: Tensor) -> Tensor:
        return b.run(x, b.pos)

    right = torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True, raise_exception=False)
    return [Check("derivatives are differences", True, right, 0.0 if right else float("inf"), 1e-3)]


def _precisions(b: Bench) -> list[Check]:
    """Low precision"""
    p, checks = b.position.properties, list[Check]()
    pos = b.pos + (FAR if p.extrapolates else 0)
    for dtype in (torch.float32, torch.bfloat16):
        low = copy.deepcopy(b.position)
        if isinstance(low, nn.Module):
            low.to(dtype)
        exact = copy.deepcopy(low)
        if isinstance(exact, nn.Module):
            exact.double()
        runs: list[Tensor] = []
        for position, kind in ((low, dtype), (exact, torch.float64)):
            bench = Bench(position, b.attend, b.tokens, b.width, b.heads)
            h = bench.embedded(b.x.to(dtype).to(kind), pos).to(kind)
            q, k, v = (z.to(dtype).to(kind) for z in bench.heads_of(h.double()))
            out = bench.attend(q, k, v, place(position, pos, q.shape[-1], kind), b.causal)
            runs.append(out.detach().double())
        error = float((runs[0] - runs[1]).norm() / runs[1].norm())
        limit = ROUNDINGS * torch.finfo(dtype).eps
        checks.append(_equal(f"{str(dtype).removeprefix('torch.')} rounds values alone", torch.tensor(error),
                             torch.tensor(0.0), limit=limit))  # fmt: skip
    return checks


_Prove = Callable[[Bench], list[Check]]

_PROOFS: tuple[_Prove, ...] = (
    _shifts, _ranges, _orders, _sequences, _pieces, _leaks, _turns, _structure, _derivatives, _precisions,
)  # fmt: skip
