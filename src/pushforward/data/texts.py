"""Plain text as tokens: bytes or characters, in windows of one length.

    bytes         token = byte, 256 of them; the file stays on disk (memory-mapped)
    characters    token = place in the sorted list of the distinct characters of the file

The first part is trained on, the rest held out, as is usual for text. Windows overlap and start anywhere;
which ones a step sees is a pure function of the draw's address, as for every data set here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward.data.faults import check_file, faulty, reading
from pushforward.data.order import order


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Text:
    """A text as two rows of tokens.

    Args:
        name: what it is called in reports.
        tokens: the part to train on, whole numbers, [n].
        held_out: the rest, [m].
        vocabulary: what each token stands for: characters, or None for bytes.
    """

    name: str
    tokens: Tensor
    held_out: Tensor
    vocabulary: tuple[str, ...] | None

    @property
    def classes(self) -> int:
        """How many different tokens there are."""
        return 256 if self.vocabulary is None else len(self.vocabulary)

    def encode(self, words: str) -> Tensor:
        """The tokens of a string, [length] int64.

        Raises:
            DataError: a character the text does not have.
        """
        if self.vocabulary is None:
            return torch.tensor(list(words.encode()))
        place = {character: i for i, character in enumerate(self.vocabulary)}
        strange = [c for c in words if c not in place]
        if strange:
            raise faulty(f"characters of {self.name}", repr(strange[0]), "Use its characters, or units='bytes'.")
        return torch.tensor([place[c] for c in words])

    def decode(self, tokens: Tensor) -> str:
        """The string that tokens [length] stand for; bytes that are no UTF-8 become U+FFFD."""
        if self.vocabulary is None:
            return bytes(tokens.tolist()).decode(errors="replace")
        return "".join(self.vocabulary[i] for i in tokens.tolist())

    def windows(
        self, length: int, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[Tensor]:
        """Windows of the training part without end, [size, length] int64; arguments as `Dataset.batches`.

        Raises:
            ConfigError: a window longer than the text.
        """
        if not 1 <= length <= len(self.tokens):
            got = f"length={length} for {self.describe()}"
            raise ConfigError(explain(f"a window of 1 to {len(self.tokens):,} tokens", got, "Shorten the window."))
        views = self.tokens.unfold(0, length, 1)
        steps = order(len(views), size, draw, start, rank, world)
        return (views[rows].long() for _, rows in steps)

    def describe(self) -> str:
        """One line: name, sizes and tokens."""
        unit = "bytes" if self.vocabulary is None else "characters"
        return f"{self.name}: {len(self.tokens):,} + {len(self.held_out):,} {unit}, {self.classes} tokens"

    def __repr__(self) -> str:
        return f"<Text {self.describe()}>"


def text(path: "str | Path", units: str = "characters", held_out: float = 0.1) -> Text:
    """Read a UTF-8 text as characters, or any file as bytes.

    Args:
        path: the file.
        units: "characters" or "bytes".
        held_out: which share of the end is never trained on.

    Raises:
        DataError: a file that is missing, empty or, for characters, not UTF-8.
        ConfigError: other units, or a share outside (0, 1).
    """
    path = Path(path)
    if units not in ("characters", "bytes") or not 0 < held_out < 1:
        got = f"units={units!r}, held_out={held_out}"
        raise ConfigError(explain("units='characters' or 'bytes' and 0 < held_out < 1", got, "Change them."))
    check_file(path)
    with reading(path, "a text"):
        tokens, vocabulary = _characters(path) if units == "characters" else (_bytes(path), None)
    cut = len(tokens) - round(len(tokens) * held_out)
    return Text(path.stem, tokens[:cut], tokens[cut:], vocabulary)


def _bytes(path: Path) -> Tensor:
    return torch.from_numpy(np.memmap(path, np.uint8, mode="c"))


def _characters(path: Path) -> tuple[Tensor, tuple[str, ...]]:
    try:
        raw = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"'{path}' with byte 0x{error.object[error.start]:02x} at offset {error.start:,}"
        raise faulty("a UTF-8 text", got, "Convert it (iconv -f latin1 -t utf-8), or use units='bytes'.") from error
    codes = np.frombuffer(raw.encode("utf-32-le"), np.uint32)
    known = np.unique(codes)
    tokens = np.searchsorted(known, codes).astype(np.int16 if len(known) < 2**15 else np.int32)
    return torch.from_numpy(tokens), tuple(map(chr, known.tolist()))
