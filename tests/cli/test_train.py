"""Which model the options of `train` describe, and that a run's configuration gives them back."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward import _config
from pushforward._errors import ConfigError
from pushforward._recipe import (
    KINDS,
    MAF,
    MLP,
    NAF,
    NICE,
    NSF,
    Diffusion,
    FlowMap,
    RealNVP,
    Run,
    Settings,
    Table,
    Transformer,
)
from pushforward.cli.shell import parse
from pushforward.cli.train import Train, adopt, recipe_of, spelled
from pushforward.cli.units import Reading, Units, write_units

sizes = st.integers(1, 512)
nets = st.builds(Transformer, width=sizes, layers=sizes, patch=st.none() | sizes) | st.builds(MLP, hidden=sizes)
recipes = (
    st.builds(Diffusion, nets, st.sampled_from(["linear", "edm"]), st.sampled_from(["eps", "velocity"]))
    | st.builds(FlowMap, nets, st.sampled_from(["linear", "edm"]), st.sampled_from(["x0", "velocity"]))
    | st.builds(NICE, hidden=sizes)
    | st.builds(RealNVP, couplings=sizes)
    | st.builds(MAF, hidden=sizes)
    | st.builds(NSF, bins=sizes)
    | st.builds(NAF, units=sizes)
)


@pytest.mark.parametrize(
    ("words", "kind", "recipe"),
    [
        ([], "image", Diffusion(Transformer())),
        ([], "table", Diffusion(MLP())),
        (["--model", "mlp", "--mlp.hidden", "8"], "image", Diffusion(MLP(hidden=8))),
        (["--transformer.patch", "4"], "image", Diffusion(Transformer(patch=4))),
        (["--mlp.layers", "2"], "points", Diffusion(MLP(layers=2))),
        (["--path", "vp", "--prediction", "eps"], "table", Diffusion(MLP(), "vp", "eps")),
        (["--flow-map", "--path", "cosine", "--prediction", "v"], "table", FlowMap(MLP(), "cosine", "v")),
        (["--model", "nice", "--nice.couplings", "6"], "image", NICE(couplings=6)),
        (["--model", "real_nvp", "--real-nvp.hidden", "16"], "table", RealNVP(hidden=16)),
        (["--model", "maf", "--maf.transforms", "2"], "points", MAF(transforms=2)),
        (["--model", "nsf", "--nsf.bins", "4"], "image", NSF(bins=4)),
        (["--model", "naf", "--naf.units", "4"], "table", NAF(units=4)),
    ],
)
def test_options_describe_a_model(words: list[str], kind: str, recipe: object) -> None:
    assert recipe_of(parse(["train", "x", *words]), kind) == recipe


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["--mlp.hidden", "8"], "image"),
        (["--transformer.width", "8"], "table"),
        (["--model", "nice", "--real-nvp.hidden", "8"], "image"),
        (["--model", "real_nvp", "--prediction", "eps"], "image"),
        (["--model", "maf", "--flow-map"], "table"),
    ],
)
def test_options_without_effect_are_refused(words: list[str], kind: str) -> None:
    with pytest.raises(ConfigError, match=r"[Dd]rop (them|it)"):
        recipe_of(parse(["train", "x", *words]), kind)


def test_a_recipe_is_spelled_in_a_few_words() -> None:
    assert spelled(Diffusion(MLP(), "vp", "eps")) == "diffusion (mlp, vp path, eps)"
    assert spelled(FlowMap()) == "flow map (transformer, linear path, velocity)"
    assert spelled(RealNVP()) == "real_nvp"


def test_a_distilled_run_is_trained_again_as_a_flow_map() -> None:
    made = Run(Settings(), (3,), 0, "moons", "", FlowMap(MLP(hidden=8), "vp", "eps", critic=True, jumps=4, renoise=1.0))
    options = adopt(_config.loads(_config.dumps(made, KINDS)), Path("no/folder/config.toml"))
    assert recipe_of(options, "table") == FlowMap(MLP(hidden=8), "vp", "eps")


@settings(max_examples=50)
@given(recipes, st.integers(1, 99), st.booleans())
def test_a_runs_configuration_trains_the_same_again(recipe: object, steps: int, conditional: bool) -> None:
    made = Run(Settings(steps=steps), (3,), 2 if conditional else 0, "moons", "Regression()", recipe)
    table = _config.loads(_config.dumps(made, KINDS))
    options = adopt(table, Path("no/folder/config.toml"))
    assert (recipe_of(options, "table"), options.settings) == (recipe, made.settings)
    assert (options.data, options.conditional) == ("moons", conditional)


@given(st.builds(Table, st.builds(NSF, bins=sizes) | st.builds(MAF, hidden=sizes), st.floats(0, 1)))
def test_a_tables_configuration_gives_its_options_back(recipe: Table) -> None:
    table = _config.loads(_config.dumps(Run(Settings(), (3,), 0, "people", "Likelihood()", recipe), KINDS))
    options = adopt(table, Path("no/folder/config.toml"))
    assert Table(getattr(options, options.model), options.conditionals) == recipe


def test_a_run_remembers_where_its_data_are_and_how_they_were_read(tmp_path: Path) -> None:
    units = Units("a/b.csv", "b", "table", (2,), reading=Reading(columns=("x", "y"), held_out=0.5))
    write_units(units, tmp_path)
    _config.write(Run(Settings(), (2,), 0, "b", "", NICE()), tmp_path / "config.toml", KINDS)
    options = parse(["train", "--config", str(tmp_path / "config.toml"), "--lr", "0.5"])
    expected = Train("a/b.csv", model="nice", reading=units.reading, settings=Settings(lr=0.5))
    assert replace(options, session=expected.session) == expected


def test_a_run_whose_model_was_built_by_hand_is_refused() -> None:
    with pytest.raises(ConfigError, match="built by hand"):
        adopt(_config.to_table(Run(data="moons"), KINDS), Path("config.toml"))
