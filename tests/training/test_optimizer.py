"""Our AdamW against torch's."""

import pytest
import torch
from torch import nn

from pushforward._errors import ConfigError, RunError
from pushforward._recipe import Settings
from pushforward.training.optimizer import AdamW, norm

PARTS = ("exp_avg", "exp_avg_sq", "step")


def pair(decay: float):
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    theirs = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    theirs.load_state_dict(ours.state_dict())
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    settings = Settings(weight_decay=decay, betas=(0.8, 0.95))
    return (
        ours,
        AdamW(dict(ours.named_parameters()), settings),
        theirs,
        torch.optim.AdamW(groups, betas=(0.8, 0.95)),
    )


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("unused", [False, True])
def test_equals_torch_adamw_with_clipping(decay, unused):
    ours, optimizer, theirs, reference = pair(decay)
    for step in range(6):
        for model in (ours, theirs):
            model.zero_grad()
            model(torch.full((4, 3), 1.0 + step, dtype=torch.float64)).square().sum().backward()
            if unused and step == 2:
                model[0].bias.grad = None
        norm = nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        for group in reference.param_groups:
            group["lr"] = 0.01 * (step + 1)
        reference.step()
        optimizer.update(0.01 * (step + 1), (norm / 0.5).clamp(min=1).float(), None)
        for a, b in zip(ours.parameters(), theirs.parameters()):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_skip_leaves_weights_and_state_alone():
    ours, optimizer, _, _ = pair(0.1)
    ours(torch.ones(4, 3, dtype=torch.float64)).sum().backward()
    optimizer.update(0.1, None, None)
    before = {k: v.clone() for k, v in {**ours.state_dict(), **optimizer.tensors()}.items()}
    optimizer.update(0.1, torch.tensor(float("nan")), torch.tensor(1.0))
    assert all(torch.equal(v, before[k]) for k, v in {**ours.state_dict(), **optimizer.tensors()}.items())


def test_the_state_of_another_model_is_refused():
    _, optimizer, _, _ = pair(0.0)
    with pytest.raises(RunError, match=r"'0.bias.exp_avg' on one side only"):
        optimizer.restore({})


def test_a_factor_on_the_rate_is_a_group_of_its_own():
    ours, _, theirs, _ = pair(0.0)
    optimizer = AdamW(dict(ours.named_parameters()), Settings(rates=(("bias", 5.0), ("2.bias", 0.0))))
    groups = [
        {"params": [theirs[0].weight, theirs[2].weight], "lr": 0.01},
        {"params": [theirs[0].bias], "lr": 0.05},
        {"params": [theirs[2].bias], "lr": 0.0},
    ]
    reference = torch.optim.AdamW(groups, weight_decay=0.0)
    for _ in range(3):
        for model in (ours, theirs):
            model.zero_grad()
            model(torch.ones(4, 3, dtype=torch.float64)).square().sum().backward()
        reference.step()
        optimizer.update(0.01, None, None)
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_a_factor_for_a_parameter_that_is_not_there_is_refused():
    ours, *_ = pair(0.0)
    with pytest.raises(ConfigError, match="Did you mean 'bias'"):
        AdamW(dict(ours.named_parameters()), Settings(rates=(("bais", 5.0),)))


def test_weights_of_two_types_are_updated_as_by_torch():
    torch.manual_seed(0)
    ours = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(4, 2).double()})
    theirs = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(4, 2).double()})
    theirs.load_state_dict(ours.state_dict())
    optimizer, reference = AdamW(dict(ours.named_parameters()), Settings()), torch.optim.AdamW(theirs.parameters())
    reference.param_groups[0].update(betas=Settings().betas, weight_decay=0.0)
    for _ in range(3):
        for model in (ours, theirs):
            model.zero_grad()
            model["b"](model["a"](torch.ones(5, 3)).double()).square().sum().backward()
        reference.step()
        optimizer.update(1e-3, None, None)
    assert list(optimizer.tensors()) == [f"{n}.{k}" for n, _ in ours.named_parameters() for k in PARTS]
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("unused", [False, True])
def test_a_first_update_that_is_skipped_is_not_counted(unused):
    ours, optimizer, _, _ = pair(0.0)
    ours(torch.ones(4, 3, dtype=torch.float64)).sum().backward()
    if unused:
        ours[0].bias.grad = None
    optimizer.update(0.1, None, torch.tensor(1.0))
    assert not any(count.item() for name, count in optimizer.tensors().items() if name.endswith(".step"))
    optimizer.update(0.1, None, torch.tensor(0.0))
    counts = [count.item() for name, count in optimizer.tensors().items() if name.endswith(".step")]
    assert counts == [1, 0 if unused else 1, 1, 1]


def test_the_norm_has_the_bits_of_torch():
    torch.manual_seed(0)
    for shapes in [[(5, 3), (7,), ()], [(300, 9)], []]:
        tensors = [torch.randn(shape) for shape in shapes]
        assert torch.equal(norm(tensors), nn.utils.get_total_norm(tensors))
