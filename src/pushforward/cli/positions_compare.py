"""`pushforward positions compare`: which position encoding suits a text, by trying.

A *cell* is one encoding and one seed. Cells are trained one after the other and written down as soon as they are
done, so that a comparison that was stopped, or asked for one more encoding, trains what is missing alone.
"""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from pushforward._errors import ConfigError, RunError, explain
from pushforward._recipe import Settings
from pushforward.cli.options import FLAT, Machine, Session

if TYPE_CHECKING:
    from pushforward.report.courses import Course, Trial
    from pushforward.report.lengths import Scores

RESULTS = "results.json"
USUAL = ("none", "learned", "sinusoidal", "rope", "alibi", "kerple", "fire", "t5")

Cells = dict[str, dict[str, Any]]
"""What each finished cell, "encoding/seed", came to."""


@dataclass(frozen=True, slots=True)
class PositionsCompare:
    """Train small language models alike but for their position encoding, and judge them beyond their length.

    Each is trained on windows of --length characters of TEXT and judged on its held-out end, in windows of that length
    and of 2, 4 and 8 times as many that do not overlap: the same characters each time, with more before them. RoPE is
    also judged with its frequencies stretched in three ways. Or solve puzzles with known answers (--task): trained at
    sizes up to --length, judged by the share that is answered without a mistake.

    Finished cells are kept in the output folder: the same command again goes on where it was stopped, and one with
    more encodings or seeds trains those alone.

    Examples:
      pushforward positions compare my.txt
      pushforward positions compare my.txt --encodings rope,alibi,t5 --seeds 3 --steps 2000
      pushforward positions compare poems.txt --units bytes       quicker where there are many different characters
      pushforward positions compare --task copy --length 16
      pushforward positions compare --task recall --length 8 --encodings all
    """

    text: Annotated[str, Positional, arg(metavar="TEXT")] = ""
    """A text file in UTF-8; none for a puzzle."""
    task: Literal["text", "copy", "reverse", "sort", "add", "recall", "needle"] = "text"
    """What to learn: the text, or a puzzle whose answer is known."""
    encodings: Annotated[tuple[str, ...], arg(metavar="NAME")] = USUAL
    """Names of encodings, with commas or spaces between; all for every one there is."""
    seeds: int = 3
    """Trainings of each encoding, from --seed on, to tell luck from merit."""
    steps: int = 2000
    """Updates of each training."""
    length: int = 64
    """Characters of a window in training; for puzzles, the largest size."""
    test_lengths: Annotated[tuple[int, ...], arg(metavar="INT")] = ()
    """More lengths to judge at, multiples of --length; by default 2, 4 and 8 times that."""
    units: Literal["characters", "bytes"] = "characters"
    """What a token of the text is; bits are per character either way."""
    batch: int = 16
    """Windows or puzzles per update."""
    width: int = 64
    """Features per token."""
    layers: int = 2
    """Blocks of attention and feed-forward."""
    heads: int = 4
    """Attention heads; they divide the width."""
    lr: float = 3e-3
    """The learning rate at its highest; it rises for 100 steps and falls along a cosine."""
    judge: int = 65_536
    """At most so many held-out tokens of a text are guessed, the same at each length."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    """Where results, table and picture go; by default runs/positions-NAME."""
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()


def run(options: PositionsCompare) -> None:
    """Train what is missing, print the table, draw the picture."""
    from pushforward.report.courses import trial

    names, course, device = _names(options), _course(options), options.machine.prepare()
    folder, setup = options.out or Path("runs") / f"positions-{course.name}", _setup(options, course)
    cells = _finished(folder / RESULTS, setup)
    seeds = range(options.machine.seed, options.machine.seed + options.seeds)
    wanted = [(name, seed) for seed in seeds for name in names]
    missing = [(name, seed) for name, seed in wanted if f"{name}/{seed}" not in cells]
    kept = (
        f", {len(wanted) - len(missing)} of {len(wanted)} trainings done before" if len(missing) < len(wanted) else ""
    )
    print(f"{course.name}: {len(names)} encodings, {_count(options.seeds)}{kept}", file=sys.stderr, flush=True)
    clock = time.monotonic()
    for done, (name, seed) in enumerate(missing):
        settings = _settings(options, seed)
        with _Line(name, seed, options.steps, done, len(missing), clock) as line:
            result = trial(course, name, settings, options.width, options.layers, options.heads, device, line.tell)
            line.end(result)
        scores = {label: {str(length): score for length, score in row.items()} for label, row in result.scores.items()}
        cells[f"{name}/{seed}"] = {"loss": result.loss, "seconds": round(result.seconds, 1), "scores": scores}
        _write(folder / RESULTS, setup, cells)
    _show(folder, course, _rows(names, seeds, cells), options)


def _names(options: PositionsCompare) -> tuple[str, ...]:
    """The encodings asked for, each once.

    Raises:
        ConfigError: one that there is not, or numbers that make no sense.
    """
    from pushforward.training.encodings import ENCODINGS, encoding

    if min(options.seeds, options.steps, options.length, options.layers, options.judge) < 1:
        got = f"{options.seeds}, {options.steps}, {options.length}, {options.layers} and {options.judge}"
        expected = "--seeds, --steps, --length, --layers and --judge of 1 or more"
        raise ConfigError(explain(expected, got, "Change what is smaller."))
    said = [name for word in options.encodings for name in word.split(",") if name]
    names = tuple(dict.fromkeys(name for word in said for name in (ENCODINGS if word == "all" else (word,))))
    for name in names:
        encoding(name)
    if not names:
        raise ConfigError(explain("an encoding", "none", f"Choose from {', '.join(ENCODINGS)}."))
    return names


def _lengths(options: PositionsCompare) -> tuple[int, ...]:
    """The trained length and those beyond it, each a divisor of the last."""
    beyond = options.test_lengths or tuple(factor * options.length for factor in (2, 4, 8))
    lengths = tuple(sorted({options.length, *beyond}))
    if lengths[0] < options.length or any(lengths[-1] % each or each % options.length for each in lengths):
        expected = f"--test-lengths that are multiples of --length {options.length} and divide the longest"
        raise ConfigError(explain(expected, " ".join(map(str, beyond)), "Use 2, 4 and 8 times the length."))
    return lengths


def _course(options: PositionsCompare) -> "Course":
    from pushforward.data import Puzzle, text
    from pushforward.report.courses import reading, solving

    lengths = _lengths(options)
    if options.task == "text":
        if not options.text:
            raise ConfigError(explain("a TEXT, or a --task with puzzles", "neither", "Name a text file."))
        return reading(text(options.text, options.units), lengths, options.batch, options.judge)
    if options.text:
        expected = f"no TEXT with --task {options.task}, which makes its own"
        raise ConfigError(explain(expected, repr(options.text), "Leave one of them out."))
    return solving(Puzzle(options.task), lengths, options.batch)


def _settings(options: PositionsCompare, seed: int) -> Settings:
    return Settings(
        steps=options.steps, batch=options.batch, lr=options.lr, warmup=100, ema=0.0, betas=(0.9, 0.99), seed=seed,
        precision="fp32", weight_decay=0.01, log_every=100, device=options.machine.device,
    )  # fmt: skip


def _setup(options: PositionsCompare, course: "Course") -> dict[str, Any]:
    """What two cells must share to stand in one table."""
    names = ("task", "steps", "units", "batch", "width", "layers", "heads", "lr", "judge")
    size = Path(options.text).stat().st_size if options.text else 0
    return {each: getattr(options, each) for each in names} | {
        "text": Path(options.text).name, "bytes": size, "lengths": list(course.lengths),
    }  # fmt: skip


def _finished(path: Path, setup: dict[str, Any]) -> Cells:
    """The cells of a file that was begun with the same options.

    Raises:
        RunError: it was begun with others, or is damaged.
    """
    from pushforward.training.files import read_json

    if not path.is_file():
        return {}
    read = read_json(path)
    before = read.get("setup", {})
    for key, value in setup.items():
        if before.get(key) != value:
            expected = f"the options that {str(path)!r} was begun with ({key} = {before.get(key)!r})"
            raise RunError(explain(expected, f"{value!r}", "Give the same, or another folder with --out."))
    return read["cells"]


def _write(path: Path, setup: dict[str, Any], cells: Cells) -> None:
    from pushforward.training.files import write_json

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"setup": setup, "cells": cells})


def _rows(names: Iterable[str], seeds: Iterable[int], cells: Cells) -> "list[Scores]":
    """One row for each encoding, and one for each way of stretching it."""
    from pushforward.report.lengths import Scores
    from pushforward.training.encodings import encoding

    rows = list[Scores]()
    for name in names:
        own = [cells[f"{name}/{seed}"]["scores"] for seed in seeds]
        for label, first in own[0].items():
            values = {int(length): [each[label][length] for each in own] for length in first}
            rows.append(Scores(label, encoding(name).family, values))
    return rows


def _show(folder: Path, course: "Course", rows: "list[Scores]", options: PositionsCompare) -> None:
    """The table, on the terminal and as Markdown, and the picture."""
    from pushforward._durable import replacing, write_text
    from pushforward.report.lengths import plot, ranked, table

    rows = ranked(rows, course.lower_is_better)
    title = f"{course.name}: {options.steps:,} steps at length {options.length}, {_count(options.seeds)}"
    print(f"{title}; {course.unit} ({'less' if course.lower_is_better else 'more'} is better) at lengths")
    print(table(rows, "encoding"))
    write_text(folder / "table.md", table(rows, "encoding", markdown=True) + "\n")
    with replacing(folder / "lengths.png") as part:
        plot(rows, course.unit, title, course.lower_is_better).savefig(part)
    print(f"Results, table and picture are in {folder}.")


def _count(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


class _Line:
    """What is going on, on stderr: a bar that moves on a terminal, a plain line for each training elsewhere."""

    def __init__(self, name: str, seed: int, steps: int, done: int, total: int, began: float) -> None:
        from tqdm import tqdm

        self._what, self._done, self._total, self._began = f"{name}, seed {seed}", done, total, began
        moving = sys.stderr.isatty()
        self._bar = tqdm(total=steps, desc=f"{done + 1}/{total} {self._what}", leave=False) if moving else None

    def __enter__(self) -> "_Line":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def tell(self, step: int, loss: float) -> None:
        """A step and its loss."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            self._bar.update(step - self._bar.n)

    def end(self, trial: "Trial") -> None:
        """What came of it, and how long the rest will take."""
        from tqdm import tqdm

        left = (time.monotonic() - self._began) / (self._done + 1) * (self._total - self._done - 1)
        scores = "  ".join(f"{score:.3f}" for score in next(iter(trial.scores.values())).values())
        line = f"{self._done + 1}/{self._total} {self._what}: {scores}  {tqdm.format_interval(left)} left"
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()
