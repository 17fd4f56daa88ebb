"""Which arithmetic is chosen, and the warning where a processor would imitate it."""

import warnings

import pytest
import torch

from pushforward.training import Settings
from pushforward.training.precision import native, resolve

CPU = torch.device("cpu")
OLD = {"architecture": "x86_64", "avx2": True, "avx512_f": True}


@pytest.fixture
def processor(monkeypatch):
    """A function that makes the processor one of these capabilities."""
    return lambda **has: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: OLD | has, raising=False)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_what_a_processor_would_imitate_is_warned_of(processor, precision):
    processor()
    with pytest.warns(UserWarning, match=f"no {precision} of its own.*--precision fp32"):
        assert resolve(Settings(precision=precision), CPU) is not None


@pytest.mark.parametrize(
    ("precision", "instruction"),
    [("bf16", "avx512_bf16"), ("bf16", "amx_bf16"), ("bf16", "bf16"), ("fp16", "avx512_fp16"), ("fp16", "fp16_arith")],
)
def test_what_a_processor_has_is_not(processor, precision, instruction):
    processor(**{instruction: True})
    with warnings.catch_warnings(action="error"):
        dtype = resolve(Settings(precision=precision), CPU)
    assert dtype is not None
    assert native(dtype)
    assert not native(torch.float16 if precision == "bf16" else torch.bfloat16)


def test_auto_and_fp32_on_a_processor_never_warn(processor):
    for has in ({}, {"avx512_bf16": True}):
        processor(**has)
        with warnings.catch_warnings(action="error"):
            assert resolve(Settings(precision="auto"), CPU) is None
            assert resolve(Settings(precision="fp32"), CPU) is None


def test_a_torch_that_cannot_tell_is_believed(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    with warnings.catch_warnings(action="error"):
        assert resolve(Settings(precision="bf16"), CPU) is torch.bfloat16
