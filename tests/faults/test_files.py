"""Whatever a stranger's file holds, it is read or one error of ours says what is wrong; nothing hangs or is written.

Bytes are flipped and cut at random in files of every kind; in those that are text, hypothesis puts other values in the
places of the right ones, which gets much deeper.
"""

import json
import os
import random
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from faults.kinds import KINDS, SUFFIXES, Kind, used
from faults.test_hostile import at_once, damaged, listing
from pushforward._errors import PushforwardError
from pushforward.cli import main
from pushforward.data import images, opening
from pushforward.interop import from_pickle

WORDS_OF_TEXTS = ("json", "toml", "--config", "the seal", "a solver")
TEXTS = [name for name in KINDS if any(word in name for word in WORDS_OF_TEXTS) and name != "metrics.jsonl"]
every_kind = pytest.mark.parametrize("name", KINDS)
counts = {"files": 0, "refused": 0}


@pytest.fixture(scope="module", autouse=True)
def told():
    """How many there were."""
    yield
    print(f"\n{counts['files']:,} files of {len(KINDS)} kinds: {counts['refused']:,} refused, the others read")


@pytest.fixture(autouse=True)
def spared(monkeypatch):
    """What happens to the real disk does not matter here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def good(name: str, folder: Path) -> tuple[Kind, Path]:
    """A good file of a kind, that is read."""
    if "parquet" in name:
        pytest.importorskip("pyarrow", reason="pyarrow is an extra: pip install 'pushforward[parquet]'")
    kind = KINDS[name]
    path = kind.write(folder)
    kind.read(path)
    return kind, path


def refused(kind: Kind, path: Path, data: bytes, root: Path) -> bool:
    """Whether the bytes are refused, which is to be in one way alone."""
    path.write_bytes(data)
    before, said = {}, ""
    try:
        with at_once(60), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = listing(root)
            kind.read(path)
    except PushforwardError as error:
        said = str(error)
    except BaseException as error:
        raise AssertionError(f"{error!r} where there should be an error of ours", path.name, data[:2000]) from error
    assert len(said) < 3_000
    assert listing(root).keys() == before.keys()
    counts["files"] += 1
    counts["refused"] += bool(said)
    return bool(said)


@every_kind
@pytest.mark.parametrize("trials", [4, pytest.param(25, marks=pytest.mark.slow)])
def test_a_broken_file_of_any_kind_is_read_or_explained(tmp_path, capsys, name, trials):
    rng = random.Random(name)
    kind, path = good(name, tmp_path)
    whole = path.read_bytes()
    for _ in range(trials):
        refused(kind, path, damaged(rng, whole), tmp_path)
    assert refused(kind, path, b"", tmp_path) or name in EMPTY, "an empty one"
    if kind.read is used:
        assert main(["info", str(path)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("pushforward: error: Expected ")
        assert said.count("\n") == 1


EMPTY = {"tracking.json", "metrics.jsonl", "--config of options", "--config of a run"}
"""What may be empty: options have defaults, and trackers and watchers take what there is."""


# other values in the places of the right ones

NUMBERS = st.sampled_from([0, -1, 1, 2, 7, 2**31, 2**63, 10**30, -(10**9), 10**9, 0.5, -0.0, 1e-300, 1e308, 1e400])
WORDS = st.sampled_from(
    ["", "nan", "../..", "/etc/passwd", "os.system", "\0", "字" * 50, "%s{0}", "0", "mlp", "a" * 9_999]
)
PLAIN = st.one_of(NUMBERS, WORDS, st.booleans(), st.none(), st.text(max_size=9), st.floats())
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in nested tables and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, each in inner for place in ((*here, key), *places(each, (*here, key)))]


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The value with one, two or three of its parts replaced, taken away, or under another name."""
    found = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(found) or [("a",)]))
        at = found
        for key in way:
            at = at[key]
        act = draw(st.integers(0, 9))
        if act == 0 and isinstance(at, dict):
            at.pop(last, None)
        elif act == 1 and isinstance(at, dict):
            at[draw(st.text(max_size=5))] = at.pop(last, None)
        else:
            at[last] = draw(VALUES)
    return found


def without_none(value: Any) -> Any:
    """What TOML can say."""
    if isinstance(value, dict):
        return {key: without_none(each) for key, each in value.items() if each is not None}
    return [without_none(each) for each in value if each is not None] if isinstance(value, list) else value


def fuzzed(trials: int, test: Any) -> None:
    """Run a test of one strategy, the same examples every time."""
    calm = settings(max_examples=trials, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    settings(calm, suppress_health_check=list(HealthCheck))(test)()


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("trials", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_other_values_in_a_file_of_text_are_read_or_explained(tmp_path, name, trials):
    kind, path = good(name, tmp_path)
    toml = "toml" in path.name
    value = tomllib.loads(path.read_text()) if toml else json.loads(path.read_text())

    @given(changed(value))
    def test(found: Any) -> None:
        text = tomli_w.dumps(without_none(found)) if toml else json.dumps(found)
        refused(kind, path, text.encode("utf-8", "surrogatepass"), tmp_path)

    fuzzed(trials, test)


CELLS = st.one_of(
    st.sampled_from(["", "1", "-2.5", "nan", "inf", "1e999", "x", '"', '"a\nb"', "\0", "a,b", "é", "0x1", "1_0", "\r"]),
    st.text(max_size=4),
)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv of anything"])
@pytest.mark.parametrize("trials", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_any_table_is_read_or_explained(tmp_path, name, trials):
    kind, path = good(name, tmp_path)

    @given(st.lists(st.lists(CELLS, max_size=4), max_size=9), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]))
    def test(rows: list[list[str]], comma: str, end: str) -> None:
        text = end.join(comma.join(row) for row in rows)
        refused(kind, path, text.encode("utf-8", "surrogatepass"), tmp_path)

    fuzzed(trials, test)


def test_the_zoo_has_every_kind_that_is_accepted():
    names = " ".join(KINDS)
    assert all(suffix in names for suffix in opening.READERS)
    known = {suffix.removeprefix(".") for suffix in images.SUFFIXES}
    assert known == {*SUFFIXES, "jpeg", "tiff"}


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False], ids=["a.pt", "pytorch_model.bin"])
def test_a_broken_pickle_that_is_asked_for_is_read_or_explained(tmp_path, zipped):
    rng, path = random.Random(0), tmp_path / "a.pt"
    torch.save({"w": torch.arange(6.0), "inner": {"b": torch.ones(2, 3)}}, path, _use_new_zipfile_serialization=zipped)
    kind, whole = Kind(lambda folder: path, lambda path: from_pickle(path, allow_pickle=True)), path.read_bytes()
    kind.read(path)
    assert sum(refused(kind, path, damaged(rng, whole), tmp_path) for _ in range(8)) > 2
