"""Extensions against published numbers and their own laws."""

from dataclasses import replace

import pytest
import torch

from positions.test_spectrum import EXTENSIONS, D, each, radians
from pushforward.positions import (
    NTK,
    DynamicNTK,
    Interpolation,
    Llama3,
    LongRoPE,
    Plain,
    Proportional,
    Rotary,
    YaRN,
)


def theta(extension, base=10_000.0, precision="exact"):
    return radians(Rotary(base, extension=extension, precision=precision).spectrum(D))


PUBLISHED = {  # D = 128; as transformers prints them
    "default": (Plain(), 1e4, {1: "8.65964323e-01", 63: "1.15478198e-04"}),
    "dynamic": (
        DynamicNTK(2.0, 2048, 8192), 1e4,
        {1: "8.39625776e-01", 32: "3.72172147e-03", 63: "1.64968860e-05"},
    ),
    "yarn": (
        YaRN(4.0, 4096), 1e4,
        {20: "5.62341288e-02", 24: "2.79739965e-02", 32: "6.53846189e-03", 40: "1.33788679e-03", 48: "2.50000012e-04"},
    ),
    "yarn-fractional": (
        YaRN(4.0, 4096, truncate=False), 1e4,
        {24: "2.86136102e-02", 32: "6.55697100e-03", 40: "1.28563191e-03"},
    ),
    "llama3": (
        Llama3(8.0, 1.0, 4.0, 8192), 5e5,
        {1: "8.14617217e-01", 24: "7.29266508e-03", 32: "5.24846022e-04", 40: "3.42810235e-05", 63: "3.06892588e-07"},
    ),
    "proportional": (Proportional(0.25), 1e4, {0: "1.00000000e+00", 1: "8.65964353e-01", 16: "0.00000000e+00"}),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_frequencies_are_the_published_ones_to_all_digits(name):
    extension, base, numbers = PUBLISHED[name]
    exact, single = theta(extension, base), theta(extension, base, "float32")
    for index, printed in numbers.items():
        assert exact[index].item() == pytest.approx(float(printed), rel=1e-6)
        assert f"{(exact if name == 'default' else single)[index].item():.8e}" == printed


def test_amplitudes_are_the_published_ones():
    assert f"{YaRN(4.0, 4096).amplitude:.7f}" == "1.1386294"
    assert YaRN(4.0, 4096, attention_factor=0.7).amplitude == 0.7  # an explicit one wins
    assert YaRN(4.0, 4096, mscale=1.0, mscale_all=1.0).amplitude == 1.0
    assert LongRoPE((), (), 4096, 1, factor=32.0).amplitude == pytest.approx(1.1902380714238083)  # Phi-3
    assert YaRN(4.0, 4096, truncate=False).ends(1e4, D) == pytest.approx((20.944, 45.027), abs=5e-4)
    assert YaRN(4.0, 4096).ends(1e4, D) == (20, 46)


def test_amplitude_multiplies_scores_by_its_square():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 4, D, dtype=torch.float64).unbind()
    pos = torch.arange(4)
    yarn = YaRN(4.0, 4096)
    plain = replace(yarn, attention_factor=1.0)
    loud, quiet = (a @ b.mT for a, b in (Rotary(extension=e).rotate(q, k, pos, pos) for e in (yarn, plain)))
    torch.testing.assert_close(loud, quiet * yarn.amplitude**2)


def test_truncate_is_obeyed():  # elsewhere a nested `truncate: False` is ignored: 11 % off
    difference = theta(YaRN(4.0, 4096, truncate=False)) / theta(YaRN(4.0, 4096)) - 1
    assert 0.04 < difference.abs().max() < 0.2


NOTHING = {
    "interpolation": Interpolation(1.0),
    "ntk": NTK(1.0),
    "dynamic-in-range": DynamicNTK(4.0, trained=64, length=17),
    "yarn": YaRN(1.0, trained=4096),
    "llama3": Llama3(factor=1.0),
    "long-in-range": LongRoPE((1.0,) * 64, (9.0,) * 64, trained=64, length=64),
    "proportional": Proportional(1.0),
}


@pytest.mark.parametrize("extension", NOTHING.values(), ids=NOTHING)
def test_a_factor_of_one_changes_nothing(extension):
    torch.testing.assert_close(theta(extension), theta(Plain()), rtol=1e-15, atol=0)
    assert extension.amplitude == 1.0


@each
def test_frequencies_fall_and_never_grow(extension):
    found = theta(extension)
    assert (found[1:] <= found[:-1]).all()
    assert (found <= theta(Plain()) * (1 + 1e-15)).all()


@pytest.mark.parametrize("name", ["ntk", "yarn", "llama3", "dynamic"])
def test_fast_waves_are_kept_and_slow_ones_stretched(name):
    extension = EXTENSIONS[name]
    ratio = theta(extension) / theta(Plain())
    growth = 2 * 8192 / 2048 - 1 if name == "dynamic" else extension.factor
    assert ratio[0] == pytest.approx(1.0, rel=1e-15)
    assert ratio[-1] == pytest.approx(1 / growth, rel=1e-12)


def test_long_factors_take_over_beyond_the_trained_length():
    extension = EXTENSIONS["long"]
    torch.testing.assert_close(theta(replace(extension, length=4096)), theta(Plain()), rtol=1e-15, atol=0)
    factors = torch.tensor(extension.long, dtype=torch.float64)
    torch.testing.assert_close(theta(replace(extension, length=4097)) * factors, theta(Plain()), rtol=1e-14, atol=0)
