from itertools import islice
from pathlib import Path

import pytest
import torch

from pushforward._errors import ConfigError, DataError
from pushforward._random import Draw
from pushforward.data import text

POEM = "Über allen Gipfeln ist Ruh,\nin allen Wipfeln spürest du\nkaum einen Hauch.\n"


@pytest.fixture(params=["characters", "bytes"])
def poem(request: pytest.FixtureRequest, tmp_path: Path):
    (tmp_path / "poem.txt").write_text(POEM, encoding="utf-8")
    return text(tmp_path / "poem.txt", request.param)


def test_nothing_is_lost(poem):
    assert poem.decode(torch.cat([poem.tokens, poem.held_out])) == POEM
    assert poem.decode(poem.encode("kaum spürest")) == "kaum spürest"
    assert int(poem.encode(POEM).max()) < poem.classes


def test_windows_are_pieces_of_the_training_part_and_all_of_them_once_per_epoch(poem):
    n = len(poem.tokens) - 7 + 1
    windows = torch.cat(list(islice(poem.windows(7, n, Draw(0)), 1)))
    pieces = [poem.tokens[i : i + 7].tolist() for i in range(n)]
    assert sorted(windows.tolist()) == sorted(pieces)


def test_windows_are_pure_in_the_step_and_the_split(poem):
    whole = list(islice(poem.windows(5, 6, Draw(1)), 30))
    assert torch.equal(next(poem.windows(5, 6, Draw(1), start=29)), whole[29])
    parts = [next(poem.windows(5, 6, Draw(1), 29, rank, 4)) for rank in range(4)]
    assert torch.equal(torch.cat(parts), whole[29])


def test_windows_do_not_copy_the_text(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(bytes(range(256)) * 40)
    book = text(tmp_path / "a.txt", "bytes")
    views = book.tokens.unfold(0, 4096, 1)
    assert views.untyped_storage().nbytes() == 10_240
    assert next(book.windows(4096, 2, Draw(0))).shape == (2, 4096)


def test_bad_texts_are_explained(tmp_path: Path, poem):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match=r"byte 0xe9 at offset 3.*units='bytes'"):
        text(tmp_path / "latin.txt")
    assert text(tmp_path / "latin.txt", "bytes").tokens.tolist()[:3] == list(b"caf")
    with pytest.raises(DataError, match="which is empty"):
        text(tmp_path / "empty.txt")
    with pytest.raises(DataError, match="which is not one"):
        text(tmp_path / "missing.txt")
    with pytest.raises(ConfigError, match="units='words'"):
        text(tmp_path / "latin.txt", "words")
    with pytest.raises(ConfigError, match="length=999"):
        poem.windows(999, 4, Draw(0))


def test_strange_characters_are_named(tmp_path: Path):
    (tmp_path / "a.txt").write_text("abc")
    with pytest.raises(DataError, match="got 'z'"):
        text(tmp_path / "a.txt").encode("az")
