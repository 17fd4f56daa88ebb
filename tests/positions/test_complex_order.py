"""Words as waves."""

import pytest
import torch

from pushforward import PushforwardError
from pushforward.positions import ComplexOrder, complex_order, frequencies

POS = torch.arange(7)


def test_the_amplitude_stays_and_the_phase_runs():
    torch.manual_seed(0)
    r, omega, phi = torch.rand(3, 7, 4, dtype=torch.float64).unbind(0)
    z = complex_order(r, omega, phi, POS)
    torch.testing.assert_close(z.abs(), r)
    later = complex_order(r, omega, phi, POS + 5)
    torch.testing.assert_close(later, z * torch.polar(torch.ones_like(r), 5 * omega))
    still = complex_order(r, 0 * omega, 0 * phi, POS)
    torch.testing.assert_close(still, r.to(torch.complex128))


def test_where_words_share_frequencies_it_acts_on_embedded_tokens():
    torch.manual_seed(0)
    position, x = ComplexOrder(8).double(), torch.randn(1, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(position.frequency.detach(), frequencies(10_000.0, 8), rtol=1e-6, atol=0)
    real, imaginary = x.chunk(2, -1)
    z = torch.complex(real, imaginary)
    expected = complex_order(z.abs(), position.frequency, z.angle(), POS)
    torch.testing.assert_close(position.embed(x, POS), torch.cat([expected.real, expected.imag], -1))


def test_frequencies_are_trained():
    position = ComplexOrder(8).double()
    position.embed(torch.randn(1, 7, 8, dtype=torch.float64), POS).square()[..., :4].sum().backward()
    assert (position.frequency.grad != 0).all()


def test_an_odd_width_is_refused():
    with pytest.raises(PushforwardError, match="even width"):
        ComplexOrder(5)
