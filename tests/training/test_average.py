"""The average against its definition."""

import torch

from pushforward.training.average import blend, memory


def test_blend_is_the_weighted_sum_of_all_weights():
    torch.manual_seed(0)
    history = [torch.randn(3, dtype=torch.float64) for _ in range(40)]
    average = [torch.zeros(3, dtype=torch.float64)]
    for step, weights in enumerate(history):
        blend(average, [weights], step, 0.8)
    expected = torch.zeros(3, dtype=torch.float64)
    for step, weights in enumerate(history):
        share = 1 - memory(step, 0.8)
        for later in range(step + 1, 40):
            share *= memory(later, 0.8)
        expected += share * weights
    torch.testing.assert_close(average[0], expected)


def test_memory_grows_to_its_limit():
    values = [memory(s, 0.99) for s in range(2000)]
    assert values == sorted(values)
    assert values[0] == 0.1
    assert values[-1] == 0.99
