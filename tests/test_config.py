"""Settings survive the way to TOML and back, and what does not belong there is named."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushforward import _config
from pushforward import _recipe as recipes
from pushforward._errors import ConfigError


@dataclass(frozen=True, slots=True)
class Circle:
    radius: float = 1.0


@dataclass(frozen=True, slots=True)
class Box:
    sides: tuple[float, float] = (1.0, 1.0)
    inner: "Circle | Box | None" = None


@dataclass(frozen=True, slots=True)
class Drawing:
    name: str
    shape: Circle | Box = Circle()
    count: int = 1
    style: Literal["solid", "dashed"] = "solid"
    layers: tuple[int, ...] = ()
    path: Path | None = None
    big: bool = False


KINDS = {"circle": Circle, "box": Box}

numbers = st.floats(allow_nan=False)
circles = st.builds(Circle, numbers)
shapes = st.recursive(
    circles | st.builds(Box, st.tuples(numbers, numbers)),
    lambda inner: st.builds(Box, st.tuples(numbers, numbers), inner),
    max_leaves=4,
)
drawings = st.builds(
    Drawing,
    name=st.text(st.characters(exclude_categories=["Cs"])),
    shape=shapes,
    count=st.integers(-(2**62), 2**62),
    style=st.sampled_from(["solid", "dashed"]),
    layers=st.lists(st.integers(-9, 9)).map(tuple),
    path=st.none() | st.sampled_from([Path("a/b c"), Path("über")]),
    big=st.booleans(),
)


@given(drawings)
def test_any_value_survives_the_round_trip(drawing: Drawing) -> None:
    text = _config.dumps(drawing, KINDS)
    assert _config.from_table(Drawing, _config.loads(text), KINDS) == drawing


def test_a_file_is_written_and_read(tmp_path: Path) -> None:
    drawing = Drawing("café", Box(inner=Box(inner=Circle(2.0))), path=Path("x"))
    _config.write(drawing, tmp_path / "a.toml", KINDS)
    assert _config.from_table(Drawing, _config.read(tmp_path / "a.toml"), KINDS) == drawing


def test_the_kind_alone_can_say_the_class() -> None:
    assert _config.from_table(None, {"kind": "circle", "radius": 3}, KINDS) == Circle(3.0)


def test_what_is_absent_keeps_its_default() -> None:
    assert _config.from_table(Drawing, {"name": "a"}, KINDS) == Drawing("a")


def test_a_field_that_older_files_lack_has_what_it_was() -> None:
    assert recipes.SOS().bound == 2.5
    for kind in ("sos", "bernstein"):  # a run from before there was a bound computes what it did
        assert _config.from_table(None, {"kind": kind}, recipes.KINDS).bound == 5.0
        assert _config.from_table(None, {"kind": kind, "bound": 3}, recipes.KINDS).bound == 3.0


def test_a_table_written_by_hand_and_in_part_keeps_todays_defaults() -> None:
    assert _config.from_table(recipes.SOS, {"degree": 3}, missing=object()) == recipes.SOS(degree=3)


def test_a_missing_field_takes_the_placeholder() -> None:
    marker = object()
    assert _config.from_table(Drawing, {}, KINDS, missing=marker).name is marker


WRONG = {
    "unknown key": ({"name": "a", "conut": 1}, "Did you mean 'count'?"),
    "unknown key far from any": ({"name": "a", "zzz": 1}, "Choose from 'big', 'count'"),
    "nested unknown key": ({"name": "a", "shape": {"kind": "circle", "radios": 1.0}}, "'shape'"),
    "nested suggestion": (
        {"name": "a", "shape": {"kind": "circle", "radios": 1.0}},
        "Did you mean 'radius'?",
    ),
    "unknown kind": ({"name": "a", "shape": {"kind": "circel"}}, "Did you mean 'circle'?"),
    "no kind where two may stand": ({"name": "a", "shape": {"radius": 1.0}}, "kind for 'shape'"),
    "a class's dotted path is no kind": ({"name": "a", "shape": {"kind": "os.system"}}, "'os.system'"),
    "kind is no word": ({"name": "a", "shape": {"kind": ["circle"]}}, "kind for 'shape'"),
    "a number for a word": ({"name": 1}, "'name' to be str; got 1"),
    "a word for a number": ({"name": "a", "count": "1"}, "'count' to be int; got '1'"),
    "true is not 1": ({"name": "a", "count": True}, "'count' to be int; got True"),
    "1 is not true": ({"name": "a", "big": 1}, "'big' to be bool; got 1"),
    "1.5 is not whole": ({"name": "a", "count": 1.5}, "'count' to be int; got 1.5"),
    "a choice mistyped": ({"name": "a", "style": "dasht"}, "Did you mean 'dashed'?"),
    "a tuple too long": ({"name": "a", "shape": {"kind": "box", "sides": [1, 2, 3]}}, "'shape.sides'"),
    "a tuple's item": ({"name": "a", "layers": [1, "b"]}, "'layers[1]' to be int"),
    "a table for a number": ({"name": "a", "count": {"x": 1}}, "'count' to be int"),
    "a number for a table": ({"name": "a", "shape": 3}, "'shape' to be Circle or Box; got 3"),
    "nothing for a required field": ({}, "a value for 'name'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case: str) -> None:
    table, message = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        _config.from_table(Drawing, table, KINDS)
    assert message in str(caught.value)


def test_another_class_than_asked_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="kind = 'box'"):
        _config.from_table(Circle, {"kind": "box"}, KINDS)


def test_a_syntax_error_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("a = 1\nb = = 2\n")
    with pytest.raises(ConfigError, match="line 2"):
        _config.read(tmp_path / "a.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        _config.read(tmp_path / "none.toml")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        _config.read(tmp_path / "a.toml")


def test_none_is_not_dropped_where_it_means_something() -> None:
    @dataclass(frozen=True)
    class Odd:
        clip: float | None = 1.0

    with pytest.raises(ConfigError, match="clip = None"):
        _config.dumps(Odd(None))


def test_short_lists_stand_on_one_line() -> None:
    text = _config.dumps(Drawing("a, [b],\n", layers=(1, 2, 3)))
    assert "layers = [1, 2, 3]\n" in text
    assert _config.loads(text)["name"] == "a, [b],\n"
