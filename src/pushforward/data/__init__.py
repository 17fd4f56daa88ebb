"""Where batches come from: built-in sets, toys with exact densities, tables, arrays, images, text.

`Dataset` is the immutable set, `Scaling` the way between a file's units and a model's, `Batch` what travels on, and
`open_data` the one door for names, files and folders. What a column of a table holds is a `Column`: `Real`, `Positive`,
`Bounded`, `Circular`, `Integer`, `Categorical`, with exact log-determinants; `Columns` are all of them. A `Ledger`
notes which rows were left out. `WordPieces` are the tokens of language models (`jieba_words` finds Chinese words for
them), a `Puzzle` rows of tokens with a known answer. Imports the bottom files (`_*`) only.
"""

from pushforward.data.arrays import from_array, from_parts
from pushforward.data.batch import Batch
from pushforward.data.column_kinds import Bounded, Categorical, Circular, Column, Integer, Positive, Real
from pushforward.data.columns import Columns
from pushforward.data.dataset import Dataset
from pushforward.data.faults import Ledger
from pushforward.data.opening import open_data
from pushforward.data.puzzles import PUZZLES, Puzzle
from pushforward.data.scaling import Scaling
from pushforward.data.shipped import digits
from pushforward.data.texts import Text, text
from pushforward.data.toys import (
    checkerboard,
    eight_gaussians,
    gaussian_mixture,
    moons,
    pinwheel,
    rings,
    swiss_roll,
    two_spirals,
)
from pushforward.data.word_cuts import jieba_words, longest_words
from pushforward.data.word_pieces import Encoded, WordPieces, word_pieces

__all__ = [
    "Batch", "Bounded", "Categorical", "Circular", "Column", "Columns", "Dataset", "Encoded", "Integer", "Ledger",
    "PUZZLES", "Positive", "Puzzle", "Real", "Scaling", "Text", "WordPieces", "checkerboard", "digits",
    "eight_gaussians", "from_array", "from_parts", "gaussian_mixture", "jieba_words", "longest_words", "moons",
    "open_data", "pinwheel", "rings", "swiss_roll", "text", "two_spirals", "word_pieces",
]  # fmt: skip
