"""A search guided by coverage, over every kind of file: `fuzz.py` in a process of its own."""

import os
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from faults.fuzz import ODD, WORD, exchanged
from faults.kinds import KINDS

HERE = Path(__file__).parent
INPUTS = 1_000


def test_words_are_exchanged_and_what_is_between_them_stays():
    data = b'{"a": [0.5, 2], "b": ""}  # c'
    found = {exchanged(data, [b"x"], random.Random(seed)) for seed in range(20)}
    assert {each.count(b"x") for each in found} == {1, 2, 3}
    assert {WORD.sub(b"_", each) for each in found} == {WORD.sub(b"_", data)}
    assert exchanged(b"", ODD, random.Random(0)) == b""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="the search is atheris', which is not installed")
@pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is an extra: pip install 'pushforward[parquet]'")
def test_no_kind_of_file_ends_in_a_traceback(tmp_path):
    command = [sys.executable, str(HERE / "fuzz.py"), str(tmp_path / "found"), str(INPUTS)]
    places = {"PYTHONPATH": os.pathsep.join(map(str, (HERE.parents[1] / "src", HERE.parent))), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | places, capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode == 0, (done.stdout[-4000:], done.stderr[-4000:])
    lines = [line for line in done.stdout.splitlines() if line.endswith(" refused")]
    assert len(lines) == len(KINDS)
    print(*lines, sep="\n")
