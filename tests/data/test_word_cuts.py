"""Chinese words: RoFormer's own tokenizer beside ours, both jiebas, and what there is without them."""

import sys
from importlib.util import find_spec

import pytest

from pushforward._errors import ConfigError
from pushforward.data import jieba_words, longest_words, word_pieces
from pushforward.data.word_pieces import MARKS

WORDS = ("今天", "天气", "非常", "中国", "科学院", "计算", "计算所", "研究", "研究生", "生命", "日本", "京都", "大学")
TEXTS = [
    "今天天气非常好。", "小明硕士毕业于中国科学院计算所，后在日本京都大学深造", "床前明月光，疑是地上霜。",
    "研究生命的起源",
    "Hello world 今天 2023年12月, foo-bar3.5!", "C++和c#是什么关系？", "a b  c\u3000天", "", "Résumé 天氣", "𠀀天气",
    "今天[MASK]非常好", "11+122=133, PI=3.14159",
]  # fmt: skip
VOCABULARY = tuple(dict.fromkeys((
    *MARKS, *WORDS, *sorted(set("".join(TEXTS)) - set(" \u3000")), "hello", "world", "foo", "##o", "12", "2023",
    "resume",
)))  # fmt: skip


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return path


@pytest.mark.skipif(
    find_spec("transformers") is None or find_spec("rjieba") is None,
    reason="compares with transformers and rjieba, which are not installed",
)
@pytest.mark.filterwarnings("ignore")  # theirs
def test_tokens_are_those_of_roformer(vocabulary, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    from transformers import RoFormerTokenizer

    theirs = RoFormerTokenizer({piece: i for i, piece in enumerate(VOCABULARY)})
    ours = word_pieces(vocabulary, cut=jieba_words())
    whole = 0
    for text in TEXTS:
        expected, got = theirs(text)["input_ids"], ours.encode([text]).tokens[0].tolist()
        assert got == expected, (text, [VOCABULARY[i] for i in got], [VOCABULARY[i] for i in expected])
        whole += sum(VOCABULARY[i] in WORDS for i in got)
    assert whole >= 8


@pytest.mark.skipif(
    find_spec("jieba") is None or find_spec("rjieba") is None, reason="compares jieba and rjieba, one is not installed"
)
@pytest.mark.filterwarnings("ignore")  # theirs
def test_both_jiebas_cut_alike(monkeypatch):
    first = jieba_words()
    monkeypatch.setitem(sys.modules, "rjieba", None)
    second = jieba_words()
    for text in TEXTS:
        assert first(text) == second(text)
        assert "".join(first(text)) == text


def test_without_jieba_it_is_said_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "rjieba", None)
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(ConfigError, match=r"pip install rjieba .* longest_words\(vocabulary\) needs neither"):
        jieba_words()


def test_either_jieba_is_asked_for_words_without_its_hidden_model(monkeypatch):
    class Fake:
        def cut(self, text, hmm):
            return ["r", text, hmm]

        def lcut(self, text, HMM):
            return ["j", text, HMM]

    monkeypatch.setitem(sys.modules, "rjieba", Fake())
    assert jieba_words()("天") == ["r", "天", False]
    monkeypatch.setitem(sys.modules, "rjieba", None)
    monkeypatch.setitem(sys.modules, "jieba", Fake())
    assert jieba_words()("天") == ["j", "天", False]


def test_the_longest_words_are_taken_and_no_character_is_lost(vocabulary):
    cut = longest_words(VOCABULARY)
    assert cut("今天天气非常好。") == ["今天", "天气", "非常", "好", "。"]
    assert cut("研究生命") == ["研究生", "命"]
    assert all("".join(cut(text)) == text for text in TEXTS)
    assert longest_words([])("天气") == ["天", "气"]
    encoded = word_pieces(vocabulary, cut=cut).encode(["今天[MASK]非常好"])
    assert [VOCABULARY[i] for i in encoded.tokens[0].tolist()] == ["[CLS]", "今天", "[MASK]", "非常", "好", "[SEP]"]
