"""What language models learn to compare their encodings by, and one trial of it.

    reading    guess the next character of a text, in windows of one length; judged by bits per character
    solving    answer puzzles of sizes 1 to n; judged by the share without a mistake

A trial makes a model with a named encoding from a seed, trains it and judges it at every length. RoPE is judged again
with its frequencies stretched to the length, without further training.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from pushforward._random import Draw
from pushforward._recipe import Settings
from pushforward.data.batch import Batch
from pushforward.data.puzzles import Puzzle
from pushforward.data.texts import Text
from pushforward.nets.language import LanguageModel
from pushforward.positions import Position, Rotary
from pushforward.report.beyond import characters, judged, windows
from pushforward.training.encodings import EXTENSIONS, Sizes, reach
from pushforward.training.language import language_model, train_language

JUDGED = 256
"""How many puzzles of each size are judged."""

Score = Callable[[LanguageModel, int, Position | None, int | None], float]
"""From a model, a length, an encoding in place of its own, and how many positions it has, to its score."""


@dataclass(frozen=True, slots=True)
class Course:
    """Something to learn, and how it is judged.

    Args:
        name: what it is called.
        vocabulary: how many different tokens there are.
        lengths: where it is judged; training goes up to the first.
        tokens: how many tokens a row of a length has.
        batches: from a seed to batches without end.
        score: judges a model at a length.
        unit: of the score.
        lower_is_better: whether less is better.
    """

    name: str
    vocabulary: int
    lengths: tuple[int, ...]
    tokens: Callable[[int], int]
    batches: Callable[[int], Iterator[Batch]]
    score: Score
    unit: str
    lower_is_better: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of training one encoding from one seed.

    Args:
        loss: of the last tenth of training, bits per token.
        seconds: training took.
        scores: for each row of the table (RoPE has several), the score at each length.
    """

    loss: float
    seconds: float
    scores: Mapping[str, Mapping[int, float]]


def reading(text: Text, lengths: Sequence[int], batch: int, most: int = 1 << 16) -> Course:
    """Guess the next token of a text.

    Args:
        text: the text.
        lengths: trained on first, then where it is judged; all divide the last.
        batch: windows per update.
        most: at most so many held-out tokens are guessed.

    Raises:
        ConfigError: a window longer than the text.
        DataError: a held-out text shorter than the longest window.
    """
    trained, longest = lengths[0], max(lengths)
    text.windows(trained + 1, batch, Draw(0))  # a text that is too short says so before anything is trained
    total = characters(text, longest, most)

    def batches(seed: int) -> Iterator[Batch]:
        rows = text.windows(trained + 1, batch, Draw(seed, "data"))
        return (Batch(each[:, :-1], each[:, 1:].contiguous()) for each in rows)

    def score(net: LanguageModel, length: int, position: Position | None, end: int | None) -> float:
        return judged(net, windows(text, length, longest, most), position, end).bits / total

    return Course(
        text.name, text.classes, tuple(lengths), lambda length: length, batches, score, "bits per character", True
    )


def solving(puzzle: Puzzle, lengths: Sequence[int], batch: int) -> Course:
    """Answer puzzles.

    Args:
        puzzle: which kind.
        lengths: the largest size in training, then where it is judged.
        batch: puzzles per update.

    Raises:
        ConfigError: sizes that this kind has not.
    """
    widest = {size: puzzle.rows(1, size, Draw(0)).x.shape[1] for size in lengths}

    def score(net: LanguageModel, size: int, position: Position | None, end: int | None) -> float:
        rows = (puzzle.rows(32, size, Draw(0, "judge", i)) for i in range(JUDGED // 32))
        return judged(net, rows, position, end).exact

    def batches(seed: int) -> Iterator[Batch]:
        return puzzle.batches(batch, lengths[0], Draw(seed, "data"))

    return Course(
        puzzle.name, puzzle.vocabulary, tuple(lengths), widest.__getitem__, batches, score, "exact answers", False
    )


def trial(
    course: Course, name: str, settings: Settings, width: int = 64, layers: int = 2, heads: int = 4,
    device: torch.device | None = None, tell: Callable[[int, float], None] | None = None,
) -> Trial:  # fmt: skip
    """Train a model with the encoding of this name and judge it.

    Args:
        course: what to learn.
        name: of the encoding, a key of `training.encodings.ENCODINGS`.
        settings: how to train; the seed is the trial's.
        width, layers, heads: of the model.
        device: where; None is the processor.
        tell: is called with the step and its loss now and then.

    Raises:
        ConfigError: no encoding has that name, or sizes do not fit each other.
        TrainingError: a loss that is not finite.
    """
    device = torch.device("cpu") if device is None else device
    began, sizes = time.monotonic(), Sizes(course.tokens(course.lengths[0]), width, heads)
    net = language_model(name, sizes, course.vocabulary, layers, settings.seed).to(device)
    loss = train_language(net, course.batches(settings.seed), settings, device, tell) / math.log(2)
    seconds = time.monotonic() - began
    end = reach(net.position)
    scores = {name: {length: course.score(net, length, None, end) for length in course.lengths}}
    for label, stretch in EXTENSIONS.items() if isinstance(net.position, Rotary) and len(course.lengths) > 1 else ():
        row = dict(scores[name])
        for length in course.lengths[1:]:
            factor = course.tokens(length) / sizes.length
            row[length] = course.score(net, length, Rotary(extension=stretch(factor, sizes.length)), None)
        scores[f"{name} + {label}"] = row
    return Trial(loss, seconds, scores)
