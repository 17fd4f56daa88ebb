"""Phases against arithmetic with fifty digits, and against the tables of others bit by bit."""

import math
from decimal import Decimal, localcontext

import pytest
import torch

from pushforward import PushforwardError
from pushforward.positions import (
    NTK,
    CustomRotary,
    DynamicNTK,
    Interpolation,
    Llama3,
    LongRoPE,
    Plain,
    Proportional,
    Rotary,
    YaRN,
)
from pushforward.positions.arithmetic import DIGITS, PI, Exact
from pushforward.positions.spectrum import theta_of

D = 128
EXTENSIONS = {
    "plain": Plain(),
    "interpolation": Interpolation(3.0),
    "ntk": NTK(4.0),
    "dynamic": DynamicNTK(2.0, trained=2048, length=8192),
    "yarn": YaRN(4.0, trained=4096),
    "yarn-fractional": YaRN(40.0, trained=4096, truncate=False, mscale=1.0, mscale_all=0.8),
    "llama3": Llama3(),
    "long": LongRoPE((1.0,) * 64, tuple(1 + c / 7 for c in range(64)), trained=4096, length=5000, factor=32.0),
    "proportional": Proportional(0.25, factor=2.0),
}


def radians(spectrum):
    """The frequencies, in float64."""
    return theta_of(spectrum.rows, spectrum.precision)


each = pytest.mark.parametrize("extension", EXTENSIONS.values(), ids=EXTENSIONS)


def cosines(pos, extension):
    """Cosines and sines at one position, from decimals."""
    with localcontext(DIGITS):
        out = []
        for theta in extension.frequencies(10_000.0, D, Exact()):
            angle = float((Decimal(pos) * theta) % (2 * PI))  # float64 from here on: an error below 1e-15
            out.append((math.cos(angle), math.sin(angle)))
    return torch.tensor(out, dtype=torch.float64) * extension.amplitude


@each
@pytest.mark.parametrize("pos", [0, 1, -7, 4097, 10**6 + 3, 10**9 + 7, 10**12 - 1, -(10**12)])
def test_tables_are_right_up_to_a_million_millions(pos, extension):
    expected = cosines(pos, extension)
    rotary = Rotary(extension=extension)
    single = torch.stack(rotary.tables(torch.tensor([pos]), D), -1)[0]
    assert single.dtype == torch.float32
    assert (single.double() - expected).abs().max() <= 3e-7 * max(1.0, extension.amplitude)
    double = torch.stack(rotary.tables(torch.tensor([pos]), D, torch.float64), -1)[0]
    assert (double - expected).abs().max() <= 2 * math.pi * abs(pos) * 2.0**-65 * extension.amplitude + 4e-15


@pytest.mark.parametrize("pos", [0.5, -0.25, 1234.125, 1e6 + 1 / 3, -(2.0**31) - 0.75, 3.7e9])
def test_fractional_positions_are_as_exact_as_float64_gives_them(pos):
    rotary = Rotary()
    found = torch.stack(rotary.tables(torch.tensor([pos], dtype=torch.float64), D, torch.float64), -1)[0]
    assert (found - cosines(pos, Plain())).abs().max() <= 2 * math.pi * abs(pos) * 2.0**-65 + 4e-15


def test_whole_positions_may_come_as_floats():
    rotary = Rotary()
    pos = torch.tensor([0, 5, -3, 2**30])
    for a, b in zip(rotary.tables(pos, D), rotary.tables(pos.double(), D)):
        assert torch.equal(a, b)


@pytest.mark.parametrize("steps", [10**5, 10**6, 10**7, 10**9])
def test_float32_tables_lose_the_place_and_ours_do_not(steps):  # the defect of every float32 table
    pos = torch.tensor([steps + 1])
    exact = cosines(steps + 1, Plain())[:, 0]
    theirs = Rotary(precision="float32").tables(pos, D)[0][0]
    ours = Rotary().tables(pos, D)[0][0]
    assert (theirs - exact).abs().max() > 1e-9 * steps
    assert (ours - exact).abs().max() < 1e-7


@pytest.mark.parametrize("shift", [10**6, 10**9, 10**12])
def test_scores_do_not_see_a_shift_in_single_precision(shift):
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 16, D).unbind()
    pos = torch.arange(16)
    rotary = Rotary()
    near, far = (a @ b.mT for a, b in (rotary.rotate(q, k, pos, pos), rotary.rotate(q, k, pos + shift, pos + shift)))
    assert (near - far).abs().max() < 3e-6 * q.norm(dim=-1).max() * k.norm(dim=-1).max()


@each
def test_float32_tables_are_the_formula_in_float32(extension):
    """Frequencies agree with the exact ones to float32, whatever the extension (bits: test_transformers)."""
    exact, single = (Rotary(extension=extension, precision=p).spectrum(D) for p in ("exact", "float32"))
    torch.testing.assert_close(radians(single), radians(exact), rtol=3e-6, atol=0)
    assert torch.equal(radians(single).float().double(), radians(single))


def test_default_tables_are_bitwise_those_of_float32_code():
    pos = torch.arange(5000)
    inverse = 1.0 / (10_000.0 ** (torch.arange(0, D, 2).float() / D))
    angles = torch.cat([pos.float()[:, None] * inverse] * 2, -1)
    cos, sin = Rotary(precision="float32").tables(pos, D)
    assert torch.equal(cos, angles.cos()[:, : D // 2])
    assert torch.equal(sin, angles.sin()[:, : D // 2])


def test_frequencies_of_more_than_a_turn_are_kept():
    theta = (3 * math.pi, 40.0, -1.0)
    pos = torch.tensor([0.0, 0.25, 1.0, -2.5, 7.0], dtype=torch.float64)
    cos, sin = CustomRotary(theta).tables(pos, 6, torch.float64)
    angles = pos[:, None] * torch.tensor(theta, dtype=torch.float64)
    torch.testing.assert_close(cos, angles.cos(), rtol=0, atol=1e-13)
    torch.testing.assert_close(sin, angles.sin(), rtol=0, atol=1e-13)


def test_positions_may_be_learned():
    pos = torch.tensor([0.3, 2.7], dtype=torch.float64, requires_grad=True)

    def cosine(p):
        return Rotary().tables(p, 6, torch.float64)[0]

    assert torch.autograd.gradcheck(cosine, pos)


def test_tables_made_in_inference_mode_do_not_spoil_training():
    rotary = Rotary(base=12_345.0)
    with torch.inference_mode(), torch.device("meta"):
        rotary.tables(torch.arange(3, device="cpu"), 8)
    pos = torch.tensor([0.5], requires_grad=True)
    rotary.tables(pos, 8)[0].sum().backward()
    assert pos.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_positions_that_cannot_count_are_refused(dtype):
    with pytest.raises(PushforwardError, match="rounds 257 to 256"):
        Rotary().tables(torch.arange(300).to(dtype), 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CustomRotary(()), "one per pair"),
        (lambda: CustomRotary((1.0, math.inf)), "finite"),
        (lambda: CustomRotary((1.0, 2.0), axis=(0,)), "an axis for each of 2"),
        (lambda: CustomRotary((1.0, 2.0), axis=(0, 2)), "every axis"),
        (lambda: Rotary(precision="bfloat16"), "precision 'exact' or 'float32'"),
        (lambda: Interpolation(0.5), "at least 1"),
        (lambda: YaRN(2.0, trained=1), "trained length"),
        (lambda: YaRN(2.0, trained=64, fast=1.0, slow=2.0), "fast > slow"),
        (lambda: Llama3(low=4.0, high=1.0), "high > low"),
        (lambda: Proportional(0.0), "fraction in"),
        (lambda: Rotary(extension=LongRoPE((1.0,), (1.0,), 64, 64)).tables(torch.arange(2), 8), "each of 4 pairs"),
        (lambda: Rotary(extension=NTK(2.0)).tables(torch.arange(2), 2), "more than one rotated pair"),
    ],
)
def test_errors_teach(make, message):
    with pytest.raises(PushforwardError, match=message):
        make()
