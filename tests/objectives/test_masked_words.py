"""Hidden words: whole, as often as they should be, the same wherever they are drawn; the loss against a loop."""

from dataclasses import replace

import pytest
import torch

from pushforward import PushforwardError
from pushforward._random import Draw
from pushforward.objectives import hidden_loss, hide_words

N, V, MASK = 40, 50, 3
DRAW = Draw(0, "words")
TOKENS = torch.randint(5, V, (600, N), generator=torch.Generator().manual_seed(0))
STARTS = torch.rand(600, N, generator=torch.Generator().manual_seed(1)) < 0.5
STARTS[:, 1] = True
WORDS = (STARTS[:, 1:].cumsum(1) - 1)[:, :-1]
WORDS = torch.cat([torch.full((600, 1), -1), WORDS, torch.full((600, 1), -1)], 1)


def test_words_are_asked_whole_and_marks_never():
    hidden, asked = hide_words(TOKENS, DRAW, vocabulary=V, mask=MASK, words=WORDS)
    assert torch.equal(hidden[~asked], TOKENS[~asked])
    assert not asked[WORDS < 0].any()
    assert asked.any(1).all()
    for row, words in zip(asked[:50], WORDS[:50]):
        for word in range(int(words.max()) + 1):
            assert len(set(row[words == word].tolist())) == 1


def test_shares_are_as_asked_for():
    _, asked = hide_words(TOKENS, DRAW, vocabulary=V, mask=MASK, words=WORDS)
    before = torch.cat([torch.full((600, 1), -2), WORDS[:, :-1]], 1)
    begins = before != WORDS
    assert asked[begins & (WORDS >= 0)].float().mean().item() == pytest.approx(0.15, abs=0.015)
    hidden, asked = hide_words(TOKENS, DRAW, vocabulary=V, mask=MASK, share=1.0)
    assert asked.all()
    assert (hidden == MASK).float().mean().item() == pytest.approx(0.8 + 0.1 / V, abs=0.01)
    same = (hidden == TOKENS).float().mean().item()
    assert same == pytest.approx(0.1 + 0.1 / V, abs=0.01)
    changed = hidden[(hidden != MASK) & (hidden != TOKENS)]
    assert set(changed.tolist()) == set(range(V)) - {MASK}


def test_what_is_hidden_is_a_function_of_the_address():
    whole = hide_words(TOKENS, DRAW, vocabulary=V, mask=MASK, words=WORDS)
    part = hide_words(TOKENS[70:90], replace(DRAW, first=70), vocabulary=V, mask=MASK, words=WORDS[70:90])
    assert all(torch.equal(a[70:90], b) for a, b in zip(whole, part))
    other = hide_words(TOKENS, DRAW.at(1), vocabulary=V, mask=MASK, words=WORDS)
    assert not torch.equal(whole[1], other[1])


def test_the_loss_is_a_mean_over_the_asked_tokens_of_each_text():
    logits = torch.randn(3, 4, V, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tokens = TOKENS[:3, :4]
    asked = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    p = logits.log_softmax(-1)
    sums = [sum(float(-p[b, i, tokens[b, i]]) for i in range(4) if asked[b, i]) for b in range(3)]
    expected = torch.tensor([sums[0] / 3, 0.0, sums[2]], dtype=torch.float64)
    torch.testing.assert_close(hidden_loss(logits[asked], tokens, asked), expected)
    with pytest.raises(PushforwardError, match="asked tokens"):
        hidden_loss(logits, tokens, asked)


@pytest.mark.parametrize("change", [{"share": 1.5}, {"hidden": 0.95}, {"replaced": -0.1}, {"mask": V}])
def test_probabilities_that_are_none_are_refused(change):
    with pytest.raises(PushforwardError, match="probabilities"):
        hide_words(TOKENS, DRAW, **{"vocabulary": V, "mask": MASK} | change)


def test_words_of_another_shape_or_numbered_through_the_batch_are_refused():
    for words in (WORDS[:, 1:], WORDS + N):
        with pytest.raises(PushforwardError, match="Number words from 0"):
            hide_words(TOKENS, DRAW, vocabulary=V, mask=MASK, words=words)
