"""Every proof can fail: encodings that do not keep what they promise, most of them found in libraries."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from pushforward import PushforwardError
from pushforward.positions import (
    FIRE,
    ALiBi,
    Biases,
    Conditional,
    Embeds,
    Learned,
    Position,
    Properties,
    Rotary,
    Rotates,
    Scores,
    Sinusoidal,
    check_encoding,
)


@dataclass(frozen=True, eq=False)
class Claims(Embeds):
    """Tokens as another encoding marks them, with promises of one's own."""

    of: Embeds
    properties: Properties = Properties()

    def embed(self, x, pos):
        return self.of.embed(x, pos)


@dataclass(frozen=True, eq=False)
class Turned(Rotates):
    """A rotary encoding whose positions and output somebody tampered with."""

    positions: object = staticmethod(lambda pos, tokens: pos)
    output: object = staticmethod(lambda x, pos: x)
    before: object = staticmethod(lambda x: x)
    properties: Properties = Properties(relative=True, isometric=True, composes=True)

    def rotation(self, pos_q, pos_k, features, dtype):
        at_q, at_k = (self.positions(pos, pos.shape[-1]) for pos in (pos_q, pos_k))
        turn = Rotary().rotation(at_q, at_k, features, dtype)
        return lambda q, k: tuple(
            self.output(z, at.to(z.dtype)[..., None])
            for z, at in zip(turn(self.before(q), self.before(k)), (at_q, at_k), strict=True)
        )


@dataclass(frozen=True, eq=False)
class Biased(Biases):
    """A bias from any formula."""

    formula: object
    properties: Properties = Properties(linear_attention=False, relative=True)

    def bias(self, pos_q, pos_k):
        return self.formula(pos_q.double().unsqueeze(-1), pos_k.double().unsqueeze(-2)).unsqueeze(-3)


class Neighbours(nn.Module, Embeds):
    """A convolution over memory, whatever the positions are."""

    properties = Properties(relative=True)

    def embed(self, x, pos):
        return x + 0.5 * x.roll(-1, -2)


class Indexed(nn.Module, Embeds):
    """Positions are taken from the shape."""

    properties = Properties()

    def embed(self, x, pos):
        return Sinusoidal().embed(x, torch.arange(x.shape[-2]))


class Buffered(nn.Module, Embeds):
    """A table in a buffer, which casting rounds."""

    properties = Properties(extrapolates=False, fractional=False)

    def __init__(self):
        super().__init__()
        self.register_buffer("inverse", 10_000.0 ** -torch.linspace(0, 1, 24, dtype=torch.float64))

    def embed(self, x, pos):
        if int(pos.max()) > 6 or pos.is_floating_point():
            raise PushforwardError("no")
        angles = pos.to(self.inverse.dtype)[..., None] * self.inverse
        return x + torch.cat([angles.sin(), angles.cos()], -1).to(x.dtype)


class Detached(nn.Module, Scores):
    """A trained term whose gradient was forgotten."""

    properties = Properties(relative=True, linear_attention=False)

    def __init__(self):
        super().__init__()
        self.vector = nn.Parameter(torch.ones(12))

    def score(self, q, k, pos_q, pos_k, mask=None):
        return (q @ self.vector.detach())[..., None] * (pos_k.unsqueeze(-2) - pos_q.unsqueeze(-1)).unsqueeze(-3)


LIARS: dict[str, tuple[Position, set[str]]] = {
    "absolute-as-relative": (Claims(Sinusoidal(), Properties(relative=True)), {"a common shift is not seen"}),
    "a-table-without-end": (
        Claims(Learned(7, 48, 1.0).double(), Properties(fractional=False)), {"positions never trained on"},
    ),
    "a-table-of-fractions": (
        Claims(Learned(7, 48, 1.0).double(), Properties(extrapolates=False)), {"fractional positions"},
    ),
    "positions-in-bfloat16": (
        Turned(lambda pos, n: pos.bfloat16().double()), {"a shift by a million neither"},
    ),
    "phases-in-float32": (
        Turned(lambda pos, n: (pos.float() * 1.1).double() / 1.1),
        {"a common shift is not seen", "a shift by a million neither"},
    ),
    "offsets-of-the-first-row": (
        Turned(lambda pos, n: pos if pos.ndim < 2 or n > 1 else pos[:1]), {"caches have offsets of their own"},
    ),
    "positions-ignored": (
        Turned(lambda pos, n: torch.arange(n)),
        {"order in memory does not matter", "shards are the whole", "cached is all at once", "turns add up"},
    ),
    "indices-embedded": (Indexed(), {"packed is separate", "left-padded is unpadded"}),
    "origin-from-length": (Turned(lambda pos, n: pos - n // 2), {"cached is all at once", "shards are the whole"}),
    "rows-alike": (Turned(lambda pos, n: pos if pos.ndim < 2 else pos[:1]), {"positions differ between rows"}),
    "longer-turns": (Turned(output=lambda x, at: x * 1.1), {"turns keep norms", "turns add up"}),
    "turns-that-do-not-add": (Turned(lambda pos, n: pos**2), {"turns add up", "a common shift is not seen"}),
    "neighbours-in-memory": (
        Neighbours(), {"order in memory does not matter", "packed is separate", "the future does not leak",
                       "shards are the whole", "cached is all at once"},
    ),
    "toeplitz-fire": (
        Biased(lambda i, j: -(i - j).abs() / (1 + i.abs()), Properties(toeplitz=True, linear_attention=False)),
        {"a bias of the distance alone"},
    ),
    "linear-bias": (Biased(lambda i, j: j - i, Properties(relative=True, toeplitz=True)), {"scores are never formed"}),
    "bloom": (
        Biased(lambda i, j: (0.5 * j + 0 * i).bfloat16().double(), Properties(linear_attention=False, relative=True)),
        {"a shift by a million neither"},
    ),
    "in-place": (Turned(output=lambda x, at: x, before=torch.Tensor.neg_), {"inputs are not changed"}),
    "a-buffer": (Buffered(), {"nothing hides in buffers"}),
    "no-gradient": (Detached(), {"derivatives are differences"}),
}  # fmt: skip


@pytest.mark.parametrize("name", LIARS)
def test_liars_are_found(name):
    liar, expected = LIARS[name]
    proof = check_encoding(liar)
    assert not proof.ok
    assert expected <= {check.name for check in proof.broken}, f"\n{proof}"
    with pytest.raises(PushforwardError, match="Correct it, or its Properties"):
        check_encoding(liar, raises=True)


def test_values_rounded_below_their_dtype_are_found():
    @dataclass(frozen=True)
    class Coarse(Embeds):
        properties = Properties()

        def embed(self, x, pos):
            return (
                Sinusoidal().embed(x.bfloat16(), pos).to(x.dtype)
                if x.dtype == torch.float32
                else Sinusoidal().embed(x, pos)
            )

    proof = check_encoding(Coarse())
    assert {check.name for check in proof.broken} == {"float32 rounds values alone"}


def test_what_is_kept_and_not_promised_is_told_apart():
    modest = Biased(lambda i, j: j - i, Properties(linear_attention=False, relative=True))
    assert check_encoding(modest).ok
    assert not check_encoding(modest).exact
    assert check_encoding(FIRE(4)).ok  # up to its threshold it sees the distance alone


def test_the_encoding_is_left_alone():
    position = Learned(7, 48)
    before = position.table.clone()
    assert check_encoding(position).ok
    assert torch.equal(position.table, before)
    assert position.table.dtype == torch.float32


def test_a_proof_prints_as_a_table():
    lines = str(check_encoding(ALiBi(4))).splitlines()
    assert lines[0].split() == ["ALiBi", "promised", "holds", "error", "limit"]
    assert next(line.split()[-4:-2] for line in lines if line.startswith("packed is separate")) == ["yes", "yes"]
    broken = str(check_encoding(LIARS["no-gradient"][0])).splitlines()
    assert next(line.split()[-4:-2] for line in broken if line.startswith("derivatives")) == ["yes", "NO"]


def test_a_convolution_reads_on_both_sides():
    checks = {check.name: check for check in check_encoding(Conditional(48)).checks}
    assert checks["the future does not leak"].promised is False
    assert checks["the future does not leak"].holds is False


def test_too_few_tokens_prove_nothing():
    with pytest.raises(PushforwardError, match="at least 5 tokens"):
        check_encoding(ALiBi(4), tokens=2)


def test_an_encoding_for_other_sizes_says_so():
    with pytest.raises(PushforwardError, match=r"Make Learned\(7, 48\)"):
        check_encoding(Learned(7, 32))
    with pytest.raises(PushforwardError, match="Make ALiBi for 4 heads"):
        check_encoding(ALiBi(8))
    assert check_encoding(ALiBi(8), heads=8).ok
