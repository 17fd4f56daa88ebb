"""Tokens of a `vocab.txt` against transformers' BERT, by hand, and what each token came from."""

import sys
from importlib.util import find_spec

import pytest
import torch

from pushforward import PushforwardError
from pushforward.data import WordPieces, word_pieces
from pushforward.data.word_pieces import MARKS

PIECES = (
    *"今天气非常好的。，!?.-#$^ab", "##a", "##b", "##c", "play", "##ing", "##ed", "un", "##play", "hello", "world",
    "the", "e", "resume", "##s", "'", "1", "##2", "##3", "天气", "非常", "ᄒ", "##ᅡ", "##ᆫ", "i", "σ", "##σ", "A", "é",
    "Play",
)  # fmt: skip
VOCABULARY = tuple(dict.fromkeys((*MARKS, *PIECES)))
TEXTS = [
    "今天天气非常好。", "Playing, played; UNPLAYED!", "  hello\tworld\n\rthe\u00a0end ", "Résumés naïve É",
    "", "天[MASK]好 [MASK]playing[SEP]", "ab" * 60 + " a", "x\u0000y\ufffdz\u200bhello\u0085world", "한 İ ΣΣ $^`|~+<=>",
    "a1b2 123 12", "今a天b", "the-the's", "ßa ﬁ", "\u2028hello\u3000世界", "e\u0301 play\u0301ing", "\U00020000天",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.skipif(find_spec("transformers") is None, reason="compares with transformers, which is not installed")
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("lower", [True, False])
def test_tokens_and_spans_are_those_of_bert(folder, lower, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    from transformers import BertTokenizer

    theirs = BertTokenizer(str(folder / "vocab.txt"), do_lower_case=lower)
    ours = word_pieces(folder / "vocab.txt", lower)
    for others in (None, TEXTS[::-1]):
        expected = theirs(TEXTS, others, padding=True, return_offsets_mapping=True, return_token_type_ids=True)
        got = ours.encode(TEXTS, others)
        for text, a, b in zip(TEXTS, got.tokens.tolist(), expected["input_ids"], strict=True):
            assert ours.decode(torch.tensor(a)) == ours.decode(torch.tensor(b)), text
        assert got.kinds.tolist() == expected["token_type_ids"]
        assert got.real.int().tolist() == expected["attention_mask"]
        for text, a, b in zip(TEXTS, got.spans, expected["offset_mapping"], strict=True):
            assert list(a) == b[: len(a)], text


def test_a_token_knows_its_characters_and_its_word(folder):
    encoded = word_pieces(folder / "vocab.txt").encode(["Résumés, 今天", "unplayed a"], ["play ing", "b"])
    text = "Résumés, 今天"
    assert [text[a:b] for a, b in encoded.spans[0][1:6]] == ["Résumé", "s", ",", "今", "天"]
    assert encoded.words[0].tolist() == [-1, 0, 0, 1, 2, 3, -1, 4, 5, -1]
    assert encoded.words[1].tolist() == [-1, 0, 0, 0, 1, -1, 2, -1, -1, -1]
    assert encoded.real[1].tolist() == [True] * 8 + [False] * 2


def test_words_that_somebody_found_stay_whole_if_they_are_known():
    def cut(text):
        words = ["今天", "天气", "非常", "好", "。"]
        return words if text == "今天天气非常好。" else [text]

    pieces = WordPieces(VOCABULARY, cut=cut)
    encoded = pieces.encode(["今天天气非常好。", "Playing!"])
    assert pieces.decode(encoded.tokens[0]) == "[CLS] 今 天 天气 非常 好 。 [SEP]"  # the example of their documentation
    assert encoded.words[0].tolist() == [-1, 0, 0, 1, 2, 3, 4, -1]
    assert encoded.spans[0][3] == (2, 4)
    assert pieces.decode(encoded.tokens[1][:3]) == "[CLS] [UNK] [SEP]"  # no punctuation is split off: cut does that
    with pytest.raises(PushforwardError, match="every character"):
        WordPieces(VOCABULARY, cut=lambda text: text.split()).encode(["a b c"])


def test_what_is_no_vocabulary_is_told(tmp_path):
    path = tmp_path / "vocab.txt"
    with pytest.raises(PushforwardError, match=r"vocab\.txt"):
        word_pieces(path)
    path.write_bytes("好".encode("gb2312"))
    with pytest.raises(PushforwardError, match="UTF-8"):
        word_pieces(path)
    path.write_text("a\nb\n")
    with pytest.raises(PushforwardError, match="PAD"):
        word_pieces(path)
