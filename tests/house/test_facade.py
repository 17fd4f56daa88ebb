"""The facade: few names, sorted, all there, and quick to import."""

import importlib
import os
import subprocess
import sys

import pytest

import pushforward
from house.test_shelves import SHELVES
from house.tree import PACKAGE


def test_the_names_are_sorted_and_few() -> None:
    assert pushforward.__all__ == sorted(set(pushforward.__all__))
    assert len(pushforward.__all__) <= 40


@pytest.mark.parametrize("name", pushforward.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(pushforward, name) is not None


@pytest.mark.parametrize("room", [room for shelf in SHELVES for room in shelf])
def test_every_room_introduces_itself(room: str) -> None:
    module = importlib.import_module(f"pushforward.{room}")
    assert len((module.__doc__ or "").split()) >= 10
    assert list(module.__all__) == sorted(set(module.__all__))
    assert not [name for name in module.__all__ if not hasattr(module, name)]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'difusion'"):
        _ = pushforward.difusion


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, pushforward; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0


def test_importing_rooms_loads_no_heavy_library() -> None:
    """Of what takes longer to import than the room itself, only torch comes along, without its compiler."""
    rooms = ", ".join(
        f"pushforward.{room}" for shelf in SHELVES[:5] for room in shelf
    )  # reports draw, so they load more
    heavy = [
        "PIL",
        "matplotlib",
        "numba",
        "pandas",
        "scipy",
        "sklearn",
        "sympy",
        "torch._dynamo",
        "torch._inductor",
        "transformers",
    ]
    code = f"import sys, {rooms}; sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or 0)"
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    run = subprocess.run([sys.executable, "-c", code], check=False, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
