"""Bits and exact answers of models whose knowledge is known, and windows that ask the same characters at any length."""

import math

import pytest
import torch

from pushforward._errors import DataError
from pushforward.data import Batch, Puzzle, text
from pushforward.nets import LanguageModel
from pushforward.positions import Learned, Rotary
from pushforward.report.beyond import characters, judged, windows
from pushforward.report.courses import reading, solving, trial
from pushforward.training import Settings


class Oracle(LanguageModel):
    """Knows that token t + 1 mod 8 follows t, with probability e / (e + 7)."""

    def __init__(self):
        super().__init__(8, None, 8, 0, 1)

    def forward(self, tokens, pos=None, position=None):
        return torch.nn.functional.one_hot((tokens + 1) % 8, 8).float()


@pytest.fixture
def poem(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text("床前明月光，疑是地上霜。ab" * 60, encoding="utf-8")
    return path


def test_bits_and_exact_answers_are_those_of_the_oracle():
    x = torch.arange(12).view(2, 6) % 8
    right = Batch(x, (x + 1) % 8)
    wrong = Batch(x, torch.where(torch.arange(6) == 3, (x + 2) % 8, (x + 1) % 8))
    bits = math.log2((math.e + 7) / math.e)
    found = judged(Oracle(), [right, wrong])
    assert found.targets == 24
    assert found.bits == pytest.approx(22 * bits + 2 * (bits + math.log2(math.e)), rel=1e-6)
    assert found.exact == 0.5
    nothing = Batch(x, torch.full_like(x, -1))
    assert judged(Oracle(), [nothing]).bits == 0


@pytest.mark.parametrize("units", ["characters", "bytes"])
def test_the_same_characters_are_asked_at_every_length(poem, units):
    read = text(poem, units)
    asked = []
    for length in (4, 8, 32):
        batches = list(windows(read, length, 32, most=70))
        assert all(batch.x.shape[1] == length for batch in batches)
        assert all((batch.x[:, 1:] == batch.context[:, :-1]).all() for batch in batches)
        asked.append(torch.cat([batch.context.flatten() for batch in batches]).tolist())
    assert asked[0] == asked[1] == asked[2] == read.held_out[1:65].tolist()
    shown = 64 if units == "characters" else len(bytes(asked[0]).decode(errors="ignore"))
    assert abs(characters(read, 32, 70) - shown) <= (units == "bytes")


def test_a_text_shorter_than_a_window_is_refused(poem):
    with pytest.raises(DataError, match="a held-out text longer than a window of 512; got 84"):
        windows(text(poem), 512, 512, 1000)


def test_positions_beyond_a_table_are_its_last():
    net = LanguageModel(8, Learned(4, 8), 8, 1, 1)
    x = torch.arange(8)[None] % 8
    rows = [Batch(x, x)]
    assert judged(net, rows, reach=4).targets == 8
    assert judged(net, rows, Rotary()).bits != judged(net, rows, reach=4).bits


def test_a_trial_learns_and_judges_the_rotary_one_four_ways(poem):
    course = reading(text(poem), (8, 16), batch=8)
    settings = Settings(steps=60, batch=8, lr=1e-2, warmup=5, ema=0.0, precision="fp32", log_every=20)
    told = []
    done = trial(course, "rope", settings, width=16, layers=1, heads=2, tell=lambda step, loss: told.append(step))
    assert list(done.scores) == ["rope", "rope + interpolation", "rope + NTK", "rope + YaRN"]
    assert done.scores["rope"][8] < 2.0 < math.log2(course.vocabulary)
    assert all(row[8] == done.scores["rope"][8] for row in done.scores.values())
    assert len({row[16] for row in done.scores.values()}) == 4
    assert told == [20, 40, 60]
    again = trial(course, "rope", settings, width=16, layers=1, heads=2)
    assert (again.loss, again.scores) == (done.loss, done.scores)


def test_the_table_of_a_learned_one_covers_the_longest_puzzle_of_training():
    course = solving(Puzzle("copy"), (3, 6), batch=4)
    settings = Settings(steps=2, batch=4, ema=0.0, precision="fp32")
    done = trial(course, "learned", settings, width=16, layers=1, heads=2)
    assert set(done.scores["learned"]) == {3, 6}
    assert all(0 <= score <= 1 for score in done.scores["learned"].values())


def test_a_puzzle_is_learned():
    course = solving(Puzzle("needle"), (2, 4), batch=32)
    settings = Settings(steps=150, batch=32, lr=1e-2, warmup=10, ema=0.0, precision="fp32", seed=1)
    assert (
        trial(course, "none", settings, width=32, layers=2, heads=2).scores["none"][2] > 0.3
    )  # one digit of ten by chance
