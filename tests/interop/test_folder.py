"""Folders to share: there and back, and what is refused."""

import json
import tomllib

import pytest
import torch

from pushforward._errors import ConfigError, RunError
from pushforward._recipe import MLP, NICE, Diffusion, RealNVP, Transformer
from pushforward.interop import load_folder, save_folder
from pushforward.training import build

RECIPES = {
    "transformer": Diffusion(Transformer(width=16, layers=1, heads=2, patch=2)),
    "learned": Diffusion(Transformer(width=16, layers=1, heads=2, patch=2, position="learned")),
    "mlp": Diffusion(MLP(8, 1), "vp", "eps"),
    "nice": NICE(couplings=2, hidden=8, layers=1),
    "real_nvp": RealNVP(couplings=2, hidden=8, layers=1),
}


def model_of(recipe, classes=0):
    torch.manual_seed(0)
    model = build(recipe, (1, 4, 4), classes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_comes_back_the_same(name, tmp_path):
    model = model_of(RECIPES[name], classes=3)
    folder = save_folder(model, tmp_path / "shared", RECIPES[name], classes=3, data="digits")
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "README.md", "manifest.json",
    }  # fmt: skip
    again, context = load_folder(folder), torch.tensor([0, 2])
    assert not again.training
    assert torch.equal(again.sample(2, context, seed=1), model.sample(2, context, seed=1))


def test_the_card_and_the_configuration_can_be_read(tmp_path):
    folder = save_folder(model_of(RECIPES["mlp"]), tmp_path, RECIPES["mlp"], data='a "set"\n---\n# of mine')
    config = json.loads((folder / "config.json").read_text())
    assert config["model"] == {
        "kind": "diffusion", "net": {"kind": "mlp", "hidden": 8, "layers": 1, "fastest": 64.0}, "path": "vp",
        "prediction": "eps", "dropped": 0.0, "source": 0,
    }  # fmt: skip
    card = (folder / "README.md").read_text()
    assert card.startswith('---\nlibrary_name: "pushforward"\ntags: ["pushforward", "diffusion"]\npipeline_tag:')
    recipe = tomllib.loads(card.split("```toml\n")[1].split("```")[0])
    assert recipe["data"] == 'a "set"\n---\n# of mine'
    assert recipe == config


def test_a_folder_without_a_manifest_is_read(tmp_path):
    model = model_of(RECIPES["nice"])
    save_folder(model, tmp_path, RECIPES["nice"])
    (tmp_path / "manifest.json").unlink()
    assert torch.equal(load_folder(tmp_path).sample(2, seed=0), model.sample(2, seed=0))


def test_a_recipe_of_another_model_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"the weights that the recipe builds; got"):
        save_folder(model_of(RECIPES["mlp"]), tmp_path, Diffusion(MLP(16, 1), "vp", "eps"))
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = model_of(RECIPES["mlp"])
    torch.nn.init.constant_(next(model.parameters()), torch.inf)
    with pytest.raises(RunError, match="finite weights"):
        save_folder(model, tmp_path, RECIPES["mlp"])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damage_is_noticed(name, tmp_path):
    save_folder(model_of(RECIPES["mlp"]), tmp_path, RECIPES["mlp"])
    data = bytearray((tmp_path / name).read_bytes())
    data[-3] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RunError, match="damaged"):
        load_folder(tmp_path)


def test_missing_foreign_and_future_folders_are_refused(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        load_folder(tmp_path / "none")
    with pytest.raises(RunError, match=r"has no config.json"):
        load_folder(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"format_version": 7}))
    with pytest.raises(RunError, match=r"run format 1; got 7"):
        load_folder(tmp_path)
    config.write_text(json.dumps({"format_version": 1, "shape": [2], "model": {"kind": "os.system"}}))
    with pytest.raises(ConfigError, match=r"os.system"):
        load_folder(tmp_path)
