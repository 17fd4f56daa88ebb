"""A search, guided by coverage, for files that end in a traceback; `test_fuzz.py` runs it over all kinds.

    PYTHONPATH=src:tests python tests/faults/fuzz.py FOLDER INPUTS [KIND ...]

The kinds are those of `kinds.py`; each is searched in a process of its own, from the good file on. A finding is what is
neither read nor one error of ours, whatever is written beside the file (the home and the folder of temporary files are
there too), an input that takes a minute, or one that takes 4 GB. The first ends the search of its kind; the input is
then FOLDER/NUMBER/crash-..., timeout-... or oom-...
"""

import os
import random
import re
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

LIMITS = ("-timeout=60", "-rss_limit_mb=4096", "-seed=1", "-len_control=0", "-verbosity=0")
WORD = re.compile(rb"[\w.+-]+|\"\"|\[\]|\{\}")
ODD = (
    rb"""-1 0 1 0.5 1e999 1e-320 nan inf null true 2147483648 9223372036854775808 [] {} "" [[]] ../.. 0x1 a=1""".split()
)
"""Words that few places are made for."""


def exchanged(data: bytes, words: Sequence[bytes], rng: random.Random) -> bytes:
    """With another word in the place of one, or of some: what has a grammar is often still read then."""
    found = list(WORD.finditer(data))
    for place in sorted(rng.sample(found, min(len(found), rng.randint(1, 3))), key=re.Match.start, reverse=True):
        data = data[: place.start()] + rng.choice(words) + data[place.end() :]
    return data


def search(place: Path, inputs: int, name: str) -> None:
    """Search one kind, then end the process: with status 0 if nothing was found."""
    import atheris

    from faults.kinds import KINDS
    from faults.test_hostile import listing
    from pushforward._errors import PushforwardError

    root, corpus = place / "root", place / "corpus"
    root.mkdir(parents=True)
    corpus.mkdir()
    os.chdir(root)
    os.environ["HOME"] = tempfile.tempdir = str(root)
    os.fsync = lambda descriptor: None
    warnings.simplefilter("ignore")
    kind, counts = KINDS[name], {"read": 0, "refused": 0}
    path = kind.write(root)
    kind.read(path)
    (corpus / "good").write_bytes(path.read_bytes())
    words = [*ODD, *sorted(set(WORD.findall(path.read_bytes())))]
    there = listing(root).keys()

    def one(data: bytes) -> None:
        path.write_bytes(data)
        said = ""
        try:
            kind.read(path)
        except PushforwardError as error:
            said = str(error)
        assert len(said) < 3_000, "an error of 3,000 characters"
        assert listing(root).keys() == there, listing(root).keys() ^ there
        counts["refused" if said else "read"] += 1
        if sum(counts.values()) == inputs:
            print(f"{name}: {counts['read']} read, {counts['refused']} refused", flush=True)

    def other(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return atheris.Mutate(data, most) if rng.random() < 0.5 else exchanged(data, words, rng)[:most]

    options = f"-runs={inputs}", f"-artifact_prefix={place}/", str(corpus)
    atheris.Setup([sys.argv[0], *LIMITS, *options], one, custom_mutator=other)
    atheris.Fuzz()


def main(folder: Path, inputs: int, names: Sequence[str]) -> None:
    """Search all kinds that are named, or all there are; the status says whether something was found."""
    import atheris

    found = []
    with atheris.instrument_imports(include=["pushforward"]):
        from faults.kinds import KINDS

        for number, name in enumerate(names or KINDS):
            if (child := os.fork()) == 0:
                search(folder / str(number), inputs, name)
            _, status = os.waitpid(child, 0)
            if status:
                found.append(name)
                print(f"{name}: FOUND something, in {folder / str(number)}", flush=True)
    sys.exit(bool(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), int(sys.argv[2]), sys.argv[3:])
