import math

import pytest
import torch

from pushforward._errors import ShapeError
from pushforward.report.estimate import Estimate, mean


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.123456, 0.00123, "0.1235 ± 0.0012"),
        (-5.0, 1.0, "-5.0 ± 1.0"),
        (123456.0, 250.0, "123456 ± 250"),
        (3e-9, 1e-9, "3e-09 ± 1e-09"),
        (2.5, math.nan, "2.5"),
        (2.5, 0.0, "2.5"),
    ],
)
def test_no_digit_is_shown_that_was_not_measured(value, error, text):
    assert str(Estimate(value, error)) == text


def test_the_mean_of_known_numbers():
    estimate = mean(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert estimate.value == 3.0
    assert estimate.error == pytest.approx(math.sqrt(14 / 3 / 4))
    assert float(estimate) == 3.0


def test_one_value_has_no_error():
    with pytest.raises(ShapeError, match="at least two"):
        mean(torch.ones(1))
