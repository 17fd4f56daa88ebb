"""Maps made of small networks, many numbers at once."""

import pytest
import torch
from torch.testing import assert_close

from pushforward.transforms import Integral, neural


def test_an_integral_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    integral = Integral(embedding=3, hidden=8).double()
    x, params = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, 4, dtype=torch.float64)

    def found() -> list[torch.Tensor]:
        at, told = x.clone().requires_grad_(), params.clone().requires_grad_()
        z, ladj = integral.encode(at, told)
        first = torch.autograd.grad((z.sin() + ladj).sum(), (at, told), create_graph=True)
        again = torch.autograd.grad(sum(each.square().sum() for each in first), (at, told, *integral.parameters()))
        return [z, ladj, *first, *again]

    whole, calls = found(), 0
    plain = Integral._encoded

    def counted(self: Integral, *args: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal calls
        calls += 1
        assert args[0].numel() <= 4
        return plain(self, *args)

    monkeypatch.setattr(neural, "_IN_CACHE", 4 * 32 * 8)
    monkeypatch.setattr(Integral, "_encoded", counted)
    for part, together in zip(found(), whole, strict=True):
        assert_close(part, together)
    assert calls == 9
    assert_close(integral.decode(whole[0].detach(), params)[0], x, atol=1e-9, rtol=0)
