"""What is not finite is found before the update, and its source is named."""

import io
import sys

import pytest
import torch
from torch import nn

from pushforward._errors import TrainingError
from pushforward._recipe import Settings
from pushforward.training import train
from pushforward.training.distributed import World
from pushforward.training.engine import Engine
from pushforward.training.guard import Guard, NotFinite
from pushforward.training.weights import weights
from training.stand_in import Circle, Straight, flow_matching


class Burst(nn.Module):
    """Infinite from its seventh call on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x / (0.0 if self.calls > 6 else 1.0)


def run(model, data=None, objective=flow_matching, **changes):
    settings = {
        "steps": 12,
        "batch": 16,
        "progress": False,
        "device": "cpu",
        "threads": 1,
        "warmup": 0,
        "schedule": "constant",
        "ema": 0.0,
    }
    return train(model, data or Circle(), objective, **{**settings, **changes})


def test_the_first_bad_module_is_named():
    model = Straight()
    model.blocks[1].append(Burst())
    with pytest.raises(TrainingError, match=r"step 6: 'blocks.1.3' is the first module"):
        run(model)


@pytest.mark.parametrize("lazy", [False, True])
def test_the_weights_are_from_before_the_bad_step(lazy, monkeypatch):
    judge = Guard.__init__
    monkeypatch.setattr(Guard, "__init__", lambda self, device, skip: judge(self, device, lazy, skip))
    good, bad = Straight(), Straight()
    run(good, steps=5, clip=0.0)
    with pytest.raises(TrainingError, match=r"step 5: the batch's x is not finite.*sample 1 of the batch"):
        run(bad, Circle(poison=5), clip=0.0)
    assert all(torch.equal(a, b) for a, b in zip(good.parameters(), bad.parameters()))


def test_a_bad_weight_is_named():
    model = Straight()
    with torch.no_grad():
        model.blocks[0][0].bias[3] = torch.inf
    with pytest.raises(TrainingError, match=r"step 0: the weight 'blocks.0.0.bias' is not finite"):
        run(model)


def test_a_bad_objective_is_named():
    with pytest.raises(TrainingError, match="every module's output is finite, so the objective itself is not"):
        run(Straight(), objective=lambda m, b, d: flow_matching(m, b, d) / 0.0)


def test_a_bad_gradient_of_a_finite_loss_is_found():
    def at_zero(model, batch, draw):
        return (model.leave(torch.zeros(len(batch), 16)) * 0.0).square().sum(1).sqrt()

    with pytest.raises(TrainingError, match=r"the loss is finite, the gradient of 'leave.weight' is not"):
        run(Straight(), objective=at_zero)


def test_fp16_skips_what_overflows_and_goes_on():
    settings = Settings(batch=16, steps=10, precision="fp16", device="cpu", ema=0.0)
    engine = Engine(Straight(), flow_matching, settings, World(torch.device("cpu")))
    assert engine._scale is not None
    engine._scale.value.fill_(2.0**40)
    batch = next(Circle().batches(16, engine._draw))
    before = {k: v.clone() for k, v in weights(engine.model).items()}
    engine.advance(0, batch)
    assert engine._scale.value == 2.0**39
    assert all(torch.equal(v, before[k]) for k, v in weights(engine.model).items())
    engine._scale.value.fill_(2.0**8)
    engine.advance(1, batch)
    assert any(not torch.equal(v, before[k]) for k, v in weights(engine.model).items())
    engine._scale.value.fill_(1.0)
    batch.x[0] = torch.nan
    with pytest.raises(NotFinite):
        engine.advance(2, batch)


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    def spoil(model, batch, draw):
        losses = flow_matching(model, batch, draw)
        if draw.step == 9:
            with torch.no_grad():
                model.leave.bias[0] = torch.inf
        return losses

    with pytest.raises(TrainingError, match=r"step 10: the weight 'leave.bias' is not finite"):
        run(Straight(), objective=spoil, run=tmp_path, checkpoint_every=5, ema=0.9)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]


def test_a_lazy_guard_remembers_the_first():
    guard = Guard(torch.device("cpu"), lazy=True)
    one, nan = torch.tensor(1.0), torch.tensor(torch.nan)
    assert guard.judge(0, one, one) == 0.0
    guard.settled()
    assert [guard.judge(s, loss, norm).item() for s, loss, norm in [(1, nan, one), (2, one, one), (3, one, nan)]] == [
        1.0
    ] * 3
    with pytest.raises(NotFinite) as caught:
        guard.settled()
    assert caught.value.step == 1


def at_the_prompt(monkeypatch, *words: str) -> None:
    """What is typed once the debugger opens."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*words, "q", ""])))


def test_the_debugger_opens_in_the_step_with_model_and_batch_at_hand(monkeypatch, capsys):
    model = Straight()
    model.blocks[1][0] = Burst()
    asked = ("p step", "p name", "p type(module).__name__", "p bool(output.isfinite().any())", "p inputs[0].shape")
    at_the_prompt(monkeypatch, *asked, "p model is not None", "p batch.x.shape", "up", "up", "p 1 + 1")
    with pytest.raises(TrainingError, match=r"'blocks.1.0' is the first module"):
        run(model, pdb_on_nan=True)
    said = capsys.readouterr().out
    assert "Step 6: 'blocks.1.0' is the first module whose output is not finite. At hand: model, batch, module" in said
    answers = [line.removeprefix("(Pdb) ") for line in said.splitlines() if line.startswith("(Pdb) ")]
    assert answers[:7] == [
        "6",
        "'blocks.1.0'",
        "'Burst'",
        "False",
        "torch.Size([16, 16])",
        "True",
        "torch.Size([16, 2])",
    ]
    assert "2" in answers


def test_the_debugger_opens_once_where_the_objective_itself_is_to_blame(monkeypatch, capsys):
    def broken(model, batch, draw):
        losses = flow_matching(model, batch, draw)
        return losses / 0 if draw.step == 3 else losses

    at_the_prompt(monkeypatch, "p losses.isfinite().any()", "p module")
    with pytest.raises(TrainingError, match="the objective itself is not"):
        run(Straight(), objective=broken, pdb_on_nan=True)
    said = capsys.readouterr().out
    assert said.count("At hand") == 1
    assert "tensor(False)" in said
    assert "None" in said


def test_no_debugger_opens_that_was_not_asked_for(monkeypatch, capsys):
    model = Straight()
    model.blocks[1][0] = Burst()
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(TrainingError):
        run(model)
    assert "At hand" not in capsys.readouterr().out
