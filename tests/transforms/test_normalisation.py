import pytest
import torch
from torch.testing import assert_close

from pushforward._errors import ConfigError
from pushforward.transforms import ActNorm, BatchNorm, Chain, Inverse
from pushforward.transforms.start import begin

X = (
    torch.randn(50, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 1.0, 9.0])[:, None, None]
    + 4
)


@pytest.mark.parametrize("turned", [False, True])
def test_the_start_normalises_each_channel(turned):
    layer = Inverse(ActNorm(3)) if turned else ActNorm(3)
    z = begin(layer, X, None, std=2.0)
    assert torch.equal(z, layer.encode(X)[0])
    channels = z.movedim(1, 0).flatten(1)
    assert_close(channels.mean(1), torch.zeros(3), rtol=0, atol=1e-4)
    assert_close(channels.std(1, correction=0), torch.full((3,), 2.0))


def test_a_constant_channel_stays_finite():
    layer = Chain(ActNorm(1))
    z = begin(layer, torch.full((4, 1), 7.0), None, std=1.0)
    assert torch.equal(z, torch.zeros(4, 1))
    assert layer.encode(torch.full((4, 1), 7.0))[1].isfinite().all()


def test_in_training_batchnorm_normalises_its_batch_and_remembers():
    layer = BatchNorm(3, memory=0.0).train()
    z, ladj = layer.encode(X)
    channels = z.movedim(1, 0).flatten(1)
    assert_close(channels.mean(1), torch.zeros(3), rtol=0, atol=1e-4)
    assert_close(channels.std(1, correction=0), torch.ones(3))
    layer.eval()  # with no memory, the running statistics are those of the last batch
    assert_close(layer.encode(X)[0], z, rtol=1e-4, atol=1e-4)
    assert_close(layer.encode(X)[1], ladj)
    assert_close(layer.decode(z)[0], X, rtol=1e-4, atol=1e-3)


def test_batchnorm_is_not_decoded_in_training():
    with pytest.raises(ConfigError, match=r"eval\(\)"):
        BatchNorm(3).train().decode(X)
    with pytest.raises(ConfigError, match="two numbers a channel"):
        BatchNorm(3).train().encode(torch.zeros(1, 3))


def test_running_statistics_are_saved_and_not_trained():
    layer = BatchNorm(3).train()
    layer.encode(X)[0].sum().backward()
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"shift", "log_scale"}
    assert layer.state_dict()["mean"].abs().sum() > 0
    assert layer.mean.grad is None
