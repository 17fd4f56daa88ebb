"""Puzzles have the answers they must have, worked out by hand from the tokens alone."""

import pytest

from pushforward import Draw
from pushforward._errors import ConfigError
from pushforward.data import PUZZLES, Puzzle
from pushforward.data.puzzles import ASK, END, EQUALS, KEYS, MARK, PLUS


def solved(name: str, question: list[int]) -> list[int]:
    """The answer of a puzzle, by plain Python."""
    if name == "add":
        a, b = question[: question.index(PLUS)], question[question.index(PLUS) + 1 :]
        total = int("".join(map(str, a[::-1]))) + int("".join(map(str, b[::-1])))
        return [int(digit) for digit in f"{total:0{len(a) + 1}d}"[::-1]]
    if name == "recall":
        assert question[-2] == ASK
        return [dict(zip(question[:-2:2], question[1:-2:2]))[question[-1]]]
    if name == "needle":
        return [question[question.index(MARK) + 1]]
    return {"copy": question, "reverse": question[::-1], "sort": sorted(question)}[name]


@pytest.mark.parametrize("size", [1, 2, 7, 20])
@pytest.mark.parametrize("name", PUZZLES)
def test_answers_are_right(name, size):
    batch = Puzzle(name).rows(16, size, Draw(3))
    for row, targets in zip(batch.x.tolist(), batch.context.tolist()):
        equals = row.index(EQUALS)
        answer = solved(name, row[:equals])
        assert targets == [-1] * equals + [*answer, END]
        assert row[equals + 1 :] == answer


@pytest.mark.parametrize("name", PUZZLES)
def test_rows_are_functions_of_the_draw(name):
    puzzle = Puzzle(name)
    assert (puzzle.rows(8, 5, Draw(0)).x == puzzle.rows(8, 5, Draw(0)).x).all()
    assert not (puzzle.rows(8, 5, Draw(0)).x == puzzle.rows(8, 5, Draw(1)).x).all()
    stream = puzzle.batches(4, 6, Draw(0))
    first = [next(stream).x for _ in range(5)]
    again = next(puzzle.batches(4, 6, Draw(0), start=3)).x
    assert (first[3] == again).all()
    assert len({x.shape[1] for x in first}) > 1


def test_a_recalled_key_is_asked_anywhere_and_occurs_once():
    batch = Puzzle("recall").rows(200, 8, Draw(0))
    keys, asked = batch.x[:, :16:2], batch.x[:, 17]
    places = (keys == asked[:, None]).int()
    assert (places.sum(1) == 1).all()
    assert set(places.argmax(1).tolist()) == set(range(8))


def test_a_needle_lies_anywhere():
    assert set((Puzzle("needle").rows(200, 4, Draw(0)).x == MARK).int().argmax(1).tolist()) == set(range(5))


def test_what_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="Did you mean 'copy'"):
        Puzzle("cpoy")
    with pytest.raises(ConfigError, match="a size of copy of 1 or more; got 0"):
        Puzzle("copy").rows(1, 0, Draw(0))
    with pytest.raises(ConfigError, match=f"of recall of 1 to {KEYS}; got {KEYS + 1}"):
        Puzzle("recall").rows(1, KEYS + 1, Draw(0))
