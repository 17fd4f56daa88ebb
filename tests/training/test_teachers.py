"""A run goes on under the teacher and from the start that it was begun with, and a teacher rests meanwhile."""

import copy
from dataclasses import dataclass, field
from importlib import import_module

import pytest
import torch

from pushforward import _config
from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward._recipe import KINDS
from pushforward.models import Diffusion, FlowMap, ModelBase, real_nvp
from pushforward.nets import MLP
from pushforward.objectives import DistributionMatching, Online, Regression, few_steps
from pushforward.objectives.objective import Objective
from pushforward.training import read_run, train
from pushforward.training.teachers import digest, resting, teachers
from training.stand_in import Circle

SETTINGS = {"batch": 8, "progress": False, "device": "cpu", "threads": 1, "log_every": 5, "checkpoint_every": 3}


def teacher_of(seed=0):
    torch.manual_seed(seed)
    return Diffusion(MLP((2,), hidden=8, layers=1))


def student_of(teacher, critic=False):
    torch.manual_seed(9)
    return FlowMap.of(teacher, critic)


def learned(objective, folder, steps, begun=None, **more):
    model = student_of(begun or teacher_of(), critic=isinstance(objective, DistributionMatching))
    train(model, Circle(), objective, run=folder, steps=steps, **SETTINGS, **more)
    return model


OBJECTIVES = {
    "shortcut": few_steps.shortcut,
    "direct": few_steps.direct,
    "distribution matching": lambda teacher: DistributionMatching(teacher, every=1),
    "another objective within": lambda teacher: Online(few_steps.shortcut(teacher), teacher_of(5)),
    "online": lambda teacher: Online(few_steps.shortcut(), teacher),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_does_not_go_on_under_another_teacher(name, tmp_path):
    learned(OBJECTIVES[name](teacher_of()), tmp_path, 4)
    kept = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match=r"Expected teacher = .* was begun; got .* another teacher\. Go on with what"):
        learned(OBJECTIVES[name](teacher_of(1)), tmp_path, 6)
    assert (tmp_path / "model.safetensors").read_bytes() == kept
    learned(OBJECTIVES[name](teacher_of()), tmp_path, 6)


def test_a_run_does_not_go_on_from_another_start(tmp_path):
    """A stage of a recipe whose earlier stage was trained on in between."""
    before, after = teacher_of(), teacher_of(1)
    learned(few_steps.shortcut(), tmp_path, 4, before, start=before)
    with pytest.raises(
        ConfigError, match=r"Expected start = .* was begun; got .* another model or other rows to start from\. Go on"
    ):
        learned(few_steps.shortcut(), tmp_path, 6, after, start=after)
    learned(few_steps.shortcut(), tmp_path, 6, before, start=copy.deepcopy(before))
    assert read_run(tmp_path).start == digest([before])


def test_a_run_of_before_goes_on_and_is_guarded_from_then(tmp_path, monkeypatch):
    before = teacher_of()
    with monkeypatch.context() as old:
        old.setattr(import_module("pushforward.training.train"), "digest", lambda modules: None)
        learned(few_steps.shortcut(before), tmp_path, 4, start=before)
    assert "teacher" not in (tmp_path / "config.toml").read_text()
    learned(few_steps.shortcut(before), tmp_path, 6, start=before)
    with pytest.raises(ConfigError, match="teacher"):
        learned(few_steps.shortcut(teacher_of(1)), tmp_path, 8, start=before)


def test_without_a_teacher_nothing_is_said(tmp_path):
    torch.manual_seed(0)
    train(teacher_of(), Circle(), Regression(), run=tmp_path, steps=2, **SETTINGS)
    assert not {"teacher", "start"} & _config.to_table(read_run(tmp_path), KINDS).keys()


def test_a_model_is_not_its_own_teacher():
    """What changes with the model cannot be held to what it was."""
    model = teacher_of()
    assert teachers(Online(Regression(), model), model) == []
    assert teachers(Online(Regression(), Diffusion(model.net)), model) == []
    assert teachers(lambda model, batch, draw: batch.x, model) == []
    assert digest([]) is None
    assert digest([model]) == digest([copy.deepcopy(model)]) != digest([teacher_of(1)])


@dataclass(frozen=True)
class Watching(Objective):
    """Notes whether its teacher and the model are in training."""

    teacher: torch.nn.Module = field(repr=False)
    seen: list = field(default_factory=list)

    def __call__(self, model, batch, draw):
        self.seen.append((self.teacher.training, self.teacher[1].training, model.training))
        return model.velocity(batch.x, batch.x[:, 0].abs()).square().mean(1)


def test_a_teacher_rests_while_the_student_learns_and_is_then_as_it_was():
    teacher = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5), torch.nn.Linear(2, 2).eval())
    watching = Watching(teacher)
    train(teacher_of(), Circle(), watching, steps=2, **SETTINGS)
    assert watching.seen == [(False, False, True)] * 2
    assert [part.training for part in teacher.modules()] == [True, True, True, False]
    with pytest.raises(KeyError), resting([teacher]):
        raise KeyError
    assert teacher.training


def test_a_rectified_flow_learns_from_a_flow_that_is_kept_as_it_is():
    """Dropout and all: the base says the same in training as before, and less is left to do than from noise."""
    torch.manual_seed(0)
    rough = real_nvp((2,), couplings=2, hidden=16, dropout=0.3, zero_output=False)
    base = ModelBase(rough)
    start = base.sample(64, Draw(4, "look"))
    weights = copy.deepcopy(rough.state_dict())
    source, net = base.source(), MLP((2,), hidden=32, layers=2)
    said = []

    def objective(model, batch, draw):
        said.append(base.sample(64, Draw(4, "look")))
        return Regression(coupling=source)(model, batch, draw)

    model = Diffusion(net, base=base)
    history = train(model, Circle(), objective, steps=300, lr=3e-3, **{**SETTINGS, "batch": 128, "log_every": 50})
    assert all(torch.equal(each, start) for each in said)
    assert all(torch.equal(weights[name], value) for name, value in rough.state_dict().items())
    assert history.losses[-1] < history.losses[0]
    x = model.sample(512, seed=0, steps=20)
    off = (x.square().sum(1).sqrt() - 1).abs().mean()
    assert off < 0.5 * (start.square().sum(1).sqrt() - 1).abs().mean()
    assert off < 0.2
