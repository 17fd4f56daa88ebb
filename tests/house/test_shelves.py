"""A room imports only from the shelves below it: never up, never sideways. A new room must be placed here."""

import pytest

from house.tree import PACKAGE, imports, modules

SHELVES = [
    ["data", "paths", "transforms", "positions"],
    ["solvers", "nets"],
    ["models"],
    ["objectives"],
    ["training"],
    ["report", "interop"],
    ["cli"],
]
"""From the bottom up."""

NARROWER = {"nets": {"positions"}, "solvers": {"paths"}}
"""Rooms that need less than their shelf allows."""

GROUND = {
    "_typing",
    "_errors",
    "_random",
    "_durable",
    "_config",
    "_recipe",
    "_flows",
    "_free_forms",
    "_version",
    "_classes",
    "_derivatives",
}
"""Files under the bottom shelf: every room may import them, and they import each other."""

DOORS = {"__init__", "__main__"}
"""The facade hands out the rooms, and `python -m pushforward` opens the command line."""


def allowed() -> dict[str, set[str]]:
    """What each room may import."""
    below: set[str] = set()
    rooms: dict[str, set[str]] = {}
    for shelf in SHELVES:
        for room in shelf:
            rooms[room] = NARROWER.get(room, below) | GROUND | {room}
        below = below | set(shelf)
    rooms["cli"].add("")
    return rooms | dict.fromkeys(GROUND, GROUND)


ALLOWED = allowed()


def test_everything_is_placed() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - DOORS <= set(ALLOWED)


def room_of(dotted: str) -> str:
    """pushforward.nets.mlp.MLP -> nets; the facade itself is ''; its version is as good as a file on the ground."""
    rest = dotted.split(".")[1:]
    if rest == ["__version__"]:
        return "_version"
    return rest[0] if rest and rest[0] in ALLOWED else ""


@pytest.mark.parametrize("module", sorted(set(modules()) - {"pushforward", "pushforward.__main__"}))
def test_imports_go_down(module: str) -> None:
    room = room_of(module)
    wrong = [
        f"line {line}: {room} may not import {dotted}"
        for line, dotted in imports(module, modules()[module])
        if dotted.split(".")[0] == "pushforward" and room_of(dotted) not in ALLOWED[room]
    ]
    assert not wrong


def test_the_walk_sees_every_kind_of_import() -> None:
    import ast

    source = """
from typing import TYPE_CHECKING
import pushforward.report
from ..training import loop
from pushforward import cli as shell
if TYPE_CHECKING:
    from pushforward.models import Diffusion
def f():
    from pushforward.objectives.regression import Regression
    importlib.import_module("pushforward.interop")
"""
    rooms = [room_of(dotted) for _, dotted in imports("pushforward.nets.mlp", ast.parse(source)) if "push" in dotted]
    assert sorted(rooms) == ["cli", "interop", "models", "objectives", "report", "training"]
    assert not set(rooms) & ALLOWED["nets"]


def test_only_the_command_line_uses_the_facade() -> None:
    assert [room for room in ALLOWED if "" in ALLOWED[room]] == ["cli"]
