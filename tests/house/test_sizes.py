"""Modules and functions short enough to read in one go, and named after what they hold."""

import ast

import pytest

from house.tree import file_of, modules, tracked

LINES_PER_MODULE = 400
LINES_PER_FUNCTION = 60
VAGUE = {"utils", "util", "common", "helpers", "helper", "core", "misc"}


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_is_short(module: str) -> None:
    assert len(file_of(module).read_text(encoding="utf-8").splitlines()) <= LINES_PER_MODULE


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_function_is_short(module: str) -> None:
    functions = [node for node in ast.walk(modules()[module]) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert not {name: length for name, length in lengths.items() if length > LINES_PER_FUNCTION}


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(modules()[module])


def test_no_file_has_a_vague_name() -> None:
    assert not [path for path in tracked() if VAGUE & {part.strip("_").partition(".")[0] for part in path.parts[-3:]}]
