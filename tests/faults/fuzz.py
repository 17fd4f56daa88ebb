"""A coverage-guided search for files that end in a traceback, for who has atheris installed.

    PYTHONPATH=src:tests python tests/faults/fuzz.py "a.csv" -max_total_time=60

The kinds are those of `kinds.py`. Whatever is no error of ours is a finding, and ends it.
"""

import contextlib
import sys
import tempfile
import warnings
from pathlib import Path


def main() -> None:
    """Search until told to stop."""
    import atheris

    with atheris.instrument_imports(include=["pushforward"]):
        from faults.kinds import KINDS
        from pushforward._errors import PushforwardError
    kind, folder = KINDS[sys.argv.pop(1)], tempfile.mkdtemp()
    path = kind.write(Path(folder))
    warnings.simplefilter("ignore")

    def one(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(PushforwardError):
            kind.read(path)

    corpus = tempfile.mkdtemp()
    (Path(corpus) / "good").write_bytes(path.read_bytes())
    atheris.Setup([*sys.argv, corpus], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
