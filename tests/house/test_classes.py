"""A class is abstract or final: a concrete method of ours is never overridden."""

import importlib
import inspect

import pytest

from house.tree import modules


def ours(cls: type) -> bool:
    """Whether a class is defined in this package."""
    return cls.__module__.partition(".")[0] == "pushforward"


@pytest.mark.parametrize("module", sorted(set(modules()) - {"pushforward.__main__"}))
def test_no_concrete_method_is_overridden(module: str) -> None:
    found = importlib.import_module(module)
    classes = [each for each in vars(found).values() if inspect.isclass(each) and each.__module__ == module]
    overridden = [
        f"{cls.__name__}.{name} overrides {parent.__name__}.{name}"
        for cls in classes
        for name, method in vars(cls).items()
        if callable(method) and not name.startswith("__")
        for parent in cls.__mro__[1:]
        if ours(parent) and name in vars(parent) and not getattr(vars(parent)[name], "__isabstractmethod__", False)
    ]
    assert not overridden
